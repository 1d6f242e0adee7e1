"""The sequencer: gives records their place in the tree and signs the tree, exactly one process at a time.

A step is one transaction: indices, tiles and checkpoint are there together or not at all. Who may do it is decided by
SQLite's write lock or an advisory lock of PostgreSQL, so several gateways (and the command line) may run one each.
Before it signs, a step makes sure that the tree extends the newest checkpoint in the database, the one that this
process knows, and the one in the folder of keys; if not, it refuses, and goes on refusing until somebody looks.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

import msgspec
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.checkpoint import Checkpoint, opened, signed
from audit.note import NoteError
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.prover import StoredCheckpoint, latest_checkpoint, parsed, tree_root
from audit.sequence import give_indices, store, take_lock, unsequenced
from audit.signing import Signers, SigningKeys
from audit.tables import AUDIT_CHECKPOINT, AUDIT_ENTRY
from audit.tiles import TileEdge, read_edge


class SequencerLimits(msgspec.Struct, frozen=True):
    """How often, and how much at once."""

    cadence_s: float = 1.0
    """Longest that a record waits for its place while nothing is wrong, in seconds."""
    batch: int = 1000
    """Most records of one step; so many waiting ones begin a step before its time."""
    pause_s: float = 0.02
    """Pause between full steps, in which the writers get the database's lock."""
    step_s: float = 60.0
    """Longest that a step may take."""
    longest_wait_s: float = 30.0
    """Longest pause after steps that failed."""
    healthy_s: float = 60.0
    """How long records may wait before the sequencer counts as not healthy."""


class TreeRefusedError(Exception):
    """The tree in the database may not be signed: it is not what was signed before. The message says what to do."""


class SequencerStatus(msgspec.Struct, frozen=True):
    """What the sequencer last saw."""

    tree_size: int = 0
    """Records under the newest checkpoint."""
    unsequenced: int = 0
    """Records that have no place yet."""
    signed_us: int = 0
    """Time of the newest checkpoint, microseconds since 1970; 0 when there is none."""
    refused: str = ""
    """Why the tree is not signed; empty while all is well."""

    def age_s(self, now: float) -> float:
        """Return the seconds between the newest checkpoint and `now` (since 1970); 0 while there is none."""
        return max(0.0, now - self.signed_us / 1e6) if self.signed_us else 0.0


class Sequencer:
    """Steps when asked, or runs by itself; one for each process. Not safe across threads."""

    def __init__(
        self,
        engine: AsyncEngine,
        keys: SigningKeys,
        limits: SequencerLimits | None = None,
        on_fault: Callable[[Exception], None] | None = None,
    ) -> None:
        """`engine.begin()` must take SQLite's write lock at once. `on_fault` hears of steps that failed."""
        self.status = SequencerStatus()
        self._engine = engine
        self._keys = keys
        self._limits = limits or SequencerLimits()
        self._on_fault = on_fault or (lambda _: None)
        self._edge: TileEdge | None = None
        self._known: Checkpoint | None = None
        self._file: tuple[int, int] | None = None
        self._appended = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._failures = 0
        self._well_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the keys if there are none, then run by itself. Raises `audit.signing.SigningKeyError`."""
        await asyncio.to_thread(self._keys.load_or_create)
        self._closing = False
        self._well_at = time.monotonic()
        self._task = asyncio.create_task(self._run(), name="audit-sequencer")

    async def close(self) -> None:
        """Give what is there its place, then end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None

    def appended(self, count: int) -> None:
        """Hear that records are durable: a full batch begins a step before its time."""
        self._appended += count
        if self._appended >= self._limits.batch:
            self.hurry()

    def hurry(self) -> None:
        """Begin a step before its time: somebody waits for the places of records that are there."""
        if not self._failures:
            self._wake.set()

    async def healthy(self) -> bool:
        """Whether records get their place: nothing was refused, and no failure lasts long."""
        return not self.status.refused and time.monotonic() - self._well_at < self._limits.healthy_s

    async def step(self) -> int | None:
        """Give up to a batch of records their place and sign the tree; return how many, None when another is at it.

        Raises `TreeRefusedError`, `audit.signing.SigningKeyError`, `AuditUnavailableError`.
        """
        edge, self._edge = self._edge, None  # whatever fails below, the next step reads the database anew
        try:
            signers = await asyncio.to_thread(self._keys.load_or_create)
            if await self._other_file():
                edge = None
            added = await self._transaction(edge, signers)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise AuditUnavailableError(f"The log cannot be sequenced now ({type(error).__name__}).") from error
        except AuditIntegrityError as error:
            raise TreeRefusedError(_refusal(str(error))) from error
        await self._look(added)
        return added

    async def catch_up(self) -> None:
        """Step until nothing waits. Raises as `step`."""
        while True:
            added = await self.step()
            if added is not None and added < self._limits.batch:
                return
            await asyncio.sleep(self._limits.pause_s)

    async def _other_file(self) -> bool:
        """Whether another file is in the place of the SQLite database; open connections would go on with the old one.

        Raises `FileNotFoundError` when there is none: connecting would make an empty one.
        """
        if self._engine.dialect.name != "sqlite" or not self._engine.url.database:
            return False
        found = await asyncio.to_thread(os.stat, self._engine.url.database)
        before, self._file = self._file, (found.st_dev, found.st_ino)
        if before in (None, self._file):
            return False
        await self._engine.dispose()
        return True

    async def _transaction(self, edge: TileEdge | None, signers: Signers) -> int | None:
        async with asyncio.timeout(self._limits.step_s), self._engine.begin() as connection:
            if not await take_lock(connection):
                return None
            last = await latest_checkpoint(connection)
            edge = await self._checked_edge(connection, edge, last, signers)
            rows = await unsequenced(connection, self._limits.batch)
            if rows:
                tiles = await asyncio.to_thread(edge.extend, [row.leaf_hash for row in rows])
                checkpoint = Checkpoint(signers.origin, edge.size, edge.root())
                note = await asyncio.to_thread(signed, checkpoint, signers.signing)
                await give_indices(connection, rows, edge.size - len(rows))
                await store(connection, checkpoint, note, tiles)
        self._edge = edge  # from here on it is durable
        if rows:
            self._known = checkpoint
            await asyncio.to_thread(self._keys.signed, note, signers)
        return len(rows)

    async def _checked_edge(
        self, connection: AsyncConnection, edge: TileEdge | None, last: StoredCheckpoint | None, signers: Signers
    ) -> TileEdge:
        """Return the edge of the newest signed tree, which is what it was when it was signed.

        Raises `TreeRefusedError`, `AuditIntegrityError`.
        """
        size = last.size if last is not None else 0
        highest = (await connection.execute(select(func.max(AUDIT_ENTRY.c.leaf_index)))).scalar()
        if (-1 if highest is None else highest) != size - 1:
            raise AuditIntegrityError(f"records have places up to {highest}, but {size} records are signed")
        known = self._known or await asyncio.to_thread(_last_signed, self._keys, signers)
        if known is not None and known.size > size:
            raise AuditIntegrityError(f"a tree of {known.size} records was signed, but the database has {size}")
        if last is None:
            return TileEdge()
        if edge is not None and (edge.size, edge.root()) == (size, last.root_hash):
            return edge
        try:
            opened(last.note, signers.origin, signers.known)
        except NoteError as error:
            raise AuditIntegrityError(f"the newest checkpoint is not one of ours: {error}") from None
        parsed(last)
        edge = await read_edge(connection, size)
        if await asyncio.to_thread(edge.root) != last.root_hash:
            raise AuditIntegrityError(f"the tree of {size} records is not the one that was signed")
        if known is not None and await tree_root(connection, known.size) != known.root_hash:
            raise AuditIntegrityError(f"the tree of {known.size} records is not the one that was signed here")
        self._known = Checkpoint(signers.origin, size, last.root_hash)
        return edge

    async def _look(self, added: int | None) -> None:
        """Note what there is, for metrics and health."""
        entry, last = AUDIT_ENTRY.c, AUDIT_CHECKPOINT.c
        waiting = 0
        async with self._engine.connect() as connection:
            newest = (
                await connection.execute(select(last.tree_size, last.at_us).order_by(last.tree_size.desc()).limit(1))
            ).one_or_none()
            if added is None or added >= self._limits.batch:
                counted = await connection.execute(select(func.count()).where(entry.leaf_index.is_(None)))
                waiting = counted.scalar_one()
        size, at_us = newest or (0, 0)
        self.status = SequencerStatus(tree_size=size, unsequenced=waiting, signed_us=at_us)

    async def _run(self) -> None:
        while True:
            closing, self._appended = self._closing, 0
            self._wake.clear()
            added = await self._step_and_tell()
            if closing:
                return
            await asyncio.sleep(self._limits.pause_s)
            if added < self._limits.batch:
                await self._rest()

    async def _step_and_tell(self) -> int:
        size = self.status.tree_size
        try:
            added = await self.step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next step tries again
            self._failures += 1
            if isinstance(error, TreeRefusedError):
                self.status = msgspec.structs.replace(self.status, refused=str(error))
            self._on_fault(error)
            return 0
        self._failures = 0
        # That another one is at it is well while it gets on: one that is frozen holds the lock, too.
        if added is not None or not self.status.unsequenced or self.status.tree_size != size:
            self._well_at = time.monotonic()
        return added or 0

    async def _rest(self) -> None:
        """Wait until the next step is due, longer after each failure."""
        wait_s = min(self._limits.cadence_s * 2 ** min(self._failures, 10), self._limits.longest_wait_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(wait_s, self._limits.cadence_s)):
                await self._wake.wait()


def _last_signed(keys: SigningKeys, signers: Signers) -> Checkpoint | None:
    note = keys.last_signed()
    try:
        return opened(note, signers.origin, signers.known) if note else None
    except NoteError as error:
        raise AuditIntegrityError(f"last.checkpoint in the signing folder is not one of ours: {error}") from None


def _refusal(why: str) -> str:
    return (
        f"The tree is not signed any more: {why}. Records are still stored, and nothing is lost. Look at the database"
        " with `attest audit fsck`; restore the newest copy. A database that is to begin anew needs a signing folder of"
        " its own (ATTEST_SIGNING_DIR)."
    )
