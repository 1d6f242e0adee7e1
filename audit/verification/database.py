"""Verification of a database: every row, hash, tile, signature and text, against what the log signed.

The checks of records and of the tree are those of `audit.verify`, which a stranger runs on a bundle. What is here
reads a database into them, and holds against the leaves what only a database has: columns,
tiles, encrypted texts, lists.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import KeyFileError, MasterKey
from audit.record import Kind
from audit.verification.drivers import Values
from audit.verification.helpers import Help, Sound, hire
from audit.verification.opening import opened_source
from audit.verification.page import Page
from audit.verification.rows import check_columns
from audit.verification.source import PAGE, Source
from audit.verification.texts import Texts
from audit.verification.tiles import Tiles
from audit.verify import (
    Checkpoint,
    Finding,
    Key,
    Report,
    Summary,
    UnreadableError,
    Walk,
    leaf_hash,
    parse_checkpoint,
    read_leaf,
)


class Trust(msgspec.Struct, frozen=True):
    """What a database is held against."""

    origin: str
    keys: tuple[Key, ...]
    outside: tuple[tuple[str, bytes], ...] = ()
    """Names and bytes of checkpoints that were kept elsewhere."""
    master_key: MasterKey | None = None
    """Opens the texts; without it only their presence is checked."""
    keys_given: bool = False
    """The keys come from outside, not from the folder of the gateway."""


async def verify_database(
    engine: AsyncEngine,
    trust: Trust,
    show: Callable[[Finding], None],
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    help_: Help | None = None,
    *,
    alone: bool = False,
) -> Summary:
    """Verify the log as it is in one snapshot; `show` gets each finding, `progress` how many of how many records.

    `alone`: nothing else goes on in this process; its event loop may stand still, which saves a third.
    With `help_` a large log is gone through by several processes; the findings and their order are the same.
    Raises `sqlalchemy.exc.SQLAlchemyError`, `audit.keys.KeyFileError` when texts are encrypted under other master keys.
    """
    async with opened_source(engine, alone=alone) as source:
        used = await source.master_keys() if trust.master_key is not None else frozenset()
        if used and trust.master_key is not None and trust.master_key.identity not in used:
            raise KeyFileError("The master key is not the one that this database's texts are encrypted with.")
        return await _Verification(source, trust, Report(show), progress, help_).run()


class _Verification:
    def __init__(
        self,
        source: Source,
        trust: Trust,
        report: Report,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
        help_: Help | None = None,
    ) -> None:
        self._source = source
        self._progress = progress
        self._trust = trust
        self._report = report
        self._walk = Walk(report)
        self._tiles = Tiles(report, source)
        self._texts = Texts(report, source, trust.master_key)
        self._page = Page(source, report, self._walk, self._texts)
        self._records = self._page.records
        self._help = help_
        self._checkpoints = 0

    async def run(self) -> Summary:
        """Go through everything once."""
        outside = self._outside()
        size = await self._signed_size()
        signed = size > 0 or not await self._source.count()
        end = size if signed else await self._source.count()
        if not signed:
            self._report.add("checkpoint", "no checkpoint in the database can be trusted, so nothing in it is proved")
        await self._pages(end, size, outside)
        await self._rest(end, size)
        waiting = await self._waiting(end)
        self._walk.expect([one for one in outside if one.size > end])
        self._walk.end()
        self._records.end()
        await self._texts.end()
        return self._summary(size, waiting)

    async def _pages(self, end: int, size: int, outside: Sequence[Checkpoint]) -> None:
        helpers = hire(self._help, self._trust.master_key, end, size)
        for begin in range(0, end, PAGE):
            self._progress(begin, end)
            await self._expect(begin, min(begin + PAGE, end), outside)
            if (sound := await helpers.sound()) is None:
                await self._page.check(begin, min(begin + PAGE, end), size)
            else:
                await self._source.beside(self._take, begin, sound)
        self._progress(end, end)

    async def _expect(self, begin: int, end: int, outside: Sequence[Checkpoint]) -> None:
        stored = await self._source.checkpoints(begin, end)
        expected = [one for row in stored if (one := self._checkpoint(row)) is not None]
        self._checkpoints += len(expected)
        expected += [one for one in outside if begin < one.size <= end]
        self._walk.expect(sorted(expected, key=lambda one: (one.size, one.outside)))

    def _take(self, begin: int, sound: Sound) -> None:
        """Take a page that a helper found to be as it must be."""
        hashes, ids = sound.hashes, sound.entry_ids
        self._walk.extend([hashes[at : at + 32] for at in range(0, len(hashes), 32)], sound.roots)
        self._records.took(begin, [ids[at : at + 36] for at in range(0, len(ids), 36)])
        self._texts.took(sound.contents, sound.dialogues)

    async def _rest(self, end: int, size: int) -> None:
        """Check what lies beyond the newest signed tree."""
        for row in await self._source.beyond(end):
            index = row[0] if type(row[0]) is int else None
            self._report.add("extra", f"no checkpoint covers it: place {row[0]!r}", index)
        await self._tiles.check_upper(size)
        await self._page.turns.check_strangers()
        for row in [*await self._source.checkpoints(-(2**62), 0), *await self._source.checkpoints(end, 2**62)]:
            self._checkpoint(row)

    async def _waiting(self, end: int) -> int:
        """Check the rows that have no place yet; return how many there are.

        What they say of prunings and erasures counts already: they were written in the same transaction.
        """
        after, count = "", 0
        while rows := await self._source.waiting(after):
            for row in rows:
                self._check_waiting(end, row)
            after, count = rows[-1][1], count + len(rows)
        return count

    def _check_waiting(self, end: int, row: Values) -> None:
        where, data = f"waiting record {row[1]!r}", row[2]
        if not isinstance(data, bytes) or leaf_hash(data) != row[3]:
            self._report.add("altered", f"{where}: its leaf does not have its hash")
            return
        try:
            fields = read_leaf(data)
        except ValueError as error:
            self._report.add("malformed", f"{where}: its leaf is no record: {error}")
            return
        check_columns(self._report, row, fields, None)
        self._governed(end, fields)

    def _governed(self, end: int, fields: dict[str, Any]) -> None:
        if fields["kind"] == Kind.RETENTION_PRUNED.value:
            self._records.pruned.said(end, fields)
        elif fields["kind"] == Kind.SUBJECT_ERASED.value:
            self._texts.erased(end, fields)

    def _outside(self) -> list[Checkpoint]:
        found = []
        for label, data in self._trust.outside:
            try:
                checkpoint = parse_checkpoint(data, self._trust.keys, label, outside=True)
            except UnreadableError as error:
                self._report.add("checkpoint", str(error))
                continue
            if checkpoint.origin != self._trust.origin:
                self._report.add("checkpoint", f"{label} is of another log: {checkpoint.origin!r}")
                continue
            found.append(checkpoint)
        return sorted(found, key=lambda one: one.size)

    async def _signed_size(self) -> int:
        """Return the size of the newest tree that a checkpoint in the database vouches for."""
        silent = _Verification(self._source, self._trust, Report(lambda _: None))
        for row in await self._source.newest_checkpoints():
            if (checkpoint := silent._checkpoint(row)) is not None:
                return checkpoint.size
        return 0

    def _checkpoint(self, row: Values) -> Checkpoint | None:
        """Return the checkpoint of a row if it is signed and the row says what its note says."""
        size, root, note = row
        label = f"the checkpoint of {size!r} records"
        try:
            data = note.encode() if isinstance(note, str) else b""
            checkpoint = parse_checkpoint(data, self._trust.keys, label)
        except (UnreadableError, UnicodeEncodeError) as error:
            self._report.add("checkpoint", str(error) if isinstance(error, UnreadableError) else f"{label} is no text")
            return None
        if (checkpoint.origin, checkpoint.size, checkpoint.root) != (self._trust.origin, size, root):
            self._report.add("checkpoint", f"{label} is not what its note says, or is of another log")
            return None
        return checkpoint

    def _summary(self, size: int, waiting: int) -> Summary:
        about = [f"{waiting} records wait for their place"] if waiting else []
        if self._trust.master_key is None:
            about.append("texts were only counted, not opened: there was no master key")
        return Summary(
            ok=not self._report.count,
            findings=self._report.count,
            origin=self._trust.origin,
            records=self._records.count,
            texts=self._texts.count,
            tree_size=size,
            checkpoints=self._checkpoints,
            keys=tuple(key.text for key in self._trust.keys),
            keys_given=self._trust.keys_given,
            about="; ".join(about),
        )
