"""From the database to a bundle: the whole log, or chosen records with their proofs; streams, so memory stays flat."""

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.bundle.archive import pack_folder
from audit.bundle.files import (
    BundledCheckpoint,
    BundledConsistency,
    BundledRecord,
    BundledText,
    BundleFrame,
    BundleWriter,
)
from audit.canonical import commitment, entry_of
from audit.keys import KeyFileError, MasterKey, decrypt
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.record import Entry, Kind
from audit.ring import KeyRing
from audit.rows import NONCE_BYTES, content_about
from audit.signing import Signers
from audit.tiles import read_nodes
from audit.tree import consistency_spans, inclusion_spans, nodes_of, path
from audit.verification.drivers import SharedRows, Values
from audit.verification.opening import snapshot
from audit.verification.source import Source

WHOLE_PAGE = 1000
CHOSEN_PAGE = 200
"""Records at once; each chosen one needs up to forty nodes of the tree."""
CHECKPOINTS = 100
"""About so many checkpoints go with a whole log, spread over it: they say where a careful forgery lies."""

ANCHORS = 100
"""Chosen records come with proofs that their log continues so many of the newest checkpoints that were anchored."""


class NothingSignedError(AuditUnavailableError):
    """What a bundle would have to prove is not signed yet."""


class BundleOrder(msgspec.Struct, frozen=True):
    """What a bundle is to hold."""

    texts: bool = False
    """With the texts that can still be read; whoever asks for it has seen to purpose and approval."""
    continues: tuple[int, ...] = ()
    """Sizes of checkpoints that the receiver holds: the bundle proves that it continues them."""


class BundleReceipt(msgspec.Struct, frozen=True):
    """What was written."""

    records: int
    tree_size: int


class BundleExport:
    """Writes bundles of one log. Raises `AuditUnavailableError`, `AuditIntegrityError`, `OSError`."""

    def __init__(self, engine: AsyncEngine, signers: Signers, master: MasterKey | None = None) -> None:
        """Without `master` a bundle has no texts."""
        self._engine = engine
        self._signers = signers
        self._master = master

    async def write(self, target: Path, order: BundleOrder, chosen: AsyncIterator[int] | None = None) -> BundleReceipt:
        """Write a bundle that is not there yet: a zip file when the name ends in `.zip`, else a folder.

        `chosen` are places in the log, rising; None means every record. Those that no checkpoint covers yet are left
        out. Nothing has the name of `target` before it is whole.
        """
        draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
        try:
            with _explained():
                async with snapshot(self._engine) as connection:
                    receipt = await _Export(connection, self._signers, self._ring(order), order).write(draft, chosen)
            await asyncio.to_thread(_put_in_place, draft, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        return receipt

    def _ring(self, order: BundleOrder) -> KeyRing | None:
        return KeyRing(self._master) if order.texts and self._master is not None else None


class _Export:
    def __init__(self, connection: AsyncConnection, signers: Signers, ring: KeyRing | None, order: BundleOrder) -> None:
        self._connection = connection
        self._source = Source(SharedRows(connection))
        self._signers = signers
        self._ring = ring
        self._order = order

    async def write(self, folder: Path, chosen: AsyncIterator[int] | None) -> BundleReceipt:
        newest = await self._checkpoint_from(0, newest=True)
        if newest is None:
            raise NothingSignedError("No checkpoint was signed yet; try again in a moment.")
        if await self._source.is_waiting(Kind.RETENTION_PRUNED.value):
            raise NothingSignedError("Records were pruned a moment ago, and that is not signed yet; try again shortly.")
        count, size = 0, newest.tree_size
        pages = self._whole(size) if chosen is None else self._chosen(chosen, size)
        writer = await asyncio.to_thread(BundleWriter, folder)
        with writer:
            async for page in pages:
                await asyncio.to_thread(writer.add, page)
                count += len(page)
            frame = await self._frame(newest, whole=chosen is None)
            await asyncio.to_thread(writer.finish, frame)
        return BundleReceipt(count, size)

    async def _whole(self, size: int) -> AsyncIterator[list[BundledRecord]]:
        for begin in range(0, size, WHOLE_PAGE):
            end = min(begin + WHOLE_PAGE, size)
            rows = await self._source.records(begin, end)
            if [row[0] for row in rows] != list(range(begin, end)):
                raise AuditIntegrityError(f"records between {begin} and {end - 1} are missing: run attest audit fsck")
            sealed = await self._source.contents(begin, end) if self._ring is not None else []
            yield await asyncio.to_thread(self._records, rows, sealed)

    async def _chosen(self, chosen: AsyncIterator[int], size: int) -> AsyncIterator[list[BundledRecord]]:
        """Yield chosen records with their proofs, and with them the records that say why others are gone."""
        prunings, owed, last = await self._prunings(size), set[int](), -1
        async for places in _pages(chosen):
            wanted = {place for place in places if last < place < size}
            if not wanted:
                continue
            last = max(wanted)
            rows = await self._source.records_of(sorted(wanted))
            owed |= {said for row in rows if not row[2] for said in prunings if _covers(prunings[said], row[0])}
            now = sorted(place for place in owed - wanted if place < last)
            owed = {place for place in owed if place > last}
            yield await self._proved([*rows, *await self._source.records_of(now)], size)
        for part in _parts(sorted(owed)):
            yield await self._proved(await self._source.records_of(part), size)

    async def _proved(self, rows: Sequence[Values], size: int) -> list[BundledRecord]:
        rows = sorted(rows, key=lambda row: int(row[0]))
        sealed = await self._source.contents_of([row[0] for row in rows]) if self._ring is not None else []
        spans = {row[0]: inclusion_spans(row[0], size) for row in rows}
        nodes = {node for several in spans.values() for span in several for node in nodes_of(span)}
        read = await read_nodes(self._connection, nodes)
        return await asyncio.to_thread(
            lambda: [
                msgspec.structs.replace(record, path=path(spans[record.index], read))
                for record in self._records(rows, sealed)
            ]
        )

    async def _prunings(self, size: int) -> dict[int, Entry]:
        rows = await self._source.of_kind(Kind.RETENTION_PRUNED.value, size)
        return {row[0]: entry_of(row[2]) for row in rows if row[2]}

    def _records(self, rows: Sequence[Values], sealed: Sequence[Values]) -> list[BundledRecord]:
        texts: dict[int, list[Values]] = {}
        for row in sealed:
            texts.setdefault(row[0], []).append(row)
        return [
            BundledRecord(
                index=row[0],
                leaf=row[2],
                leaf_hash=row[3],
                texts=self._texts(row[2], sorted(texts.get(row[0], ()), key=lambda one: int(one[1]))),
            )
            for row in rows
        ]

    def _texts(self, leaf: bytes, sealed: Sequence[Values]) -> tuple[BundledText, ...]:
        if not sealed or not leaf or self._ring is None:
            return ()
        entry = entry_of(leaf)
        escaped = msgspec.json.decode(leaf).get("commitments", [])  # names as the leaf has them
        found = []
        for _, ordinal, wrapped_key, data, key_id, subject, wrapped in sealed:
            if wrapped is None:
                continue  # erased
            promise = entry.commitments[ordinal]
            try:
                key = self._ring.open(key_id, subject, wrapped).record_key(wrapped_key, entry.entry_id.encode())
                opened = decrypt(key, data, content_about(entry.entry_id, promise.name))
            except InvalidTag:
                raise AuditIntegrityError(f"text {ordinal} of record {entry.entry_id} was altered") from None
            nonce, text = opened[:NONCE_BYTES], opened[NONCE_BYTES:]
            if commitment(nonce, text) != promise.commitment:
                raise AuditIntegrityError(f"text {ordinal} of record {entry.entry_id} was altered")
            name, role = escaped[ordinal]["name"], escaped[ordinal]["role"]
            found.append(BundledText(ordinal=ordinal, name=name, role=role, nonce=nonce, text=text))
        return tuple(found)

    async def _frame(self, newest: BundledCheckpoint, *, whole: bool) -> BundleFrame:
        size = newest.tree_size
        marks = range(0, size, max(1, size // CHECKPOINTS)) if whole else (0,)
        found = {newest.tree_size: newest}
        for mark in marks:
            checkpoint = await self._checkpoint_from(mark)
            if checkpoint is not None:
                found.setdefault(checkpoint.tree_size, checkpoint)
        checkpoints = tuple(found[at] for at in sorted(found))
        sizes = [one.tree_size for one in checkpoints]
        steps = {(old, new) for old, new in itertools.pairwise(sizes) if old}
        held = () if whole else await self._source.anchored(ANCHORS)  # a whole log proves all of them anyway
        steps |= {(old, size) for old in (*self._order.continues, *held) if 0 < old < size}
        return BundleFrame(
            origin=self._signers.origin,
            whole=whole,
            checkpoints=checkpoints,
            consistency=tuple([await self._consistency(old, new) for old, new in sorted(steps)]),
            keys=tuple(str(key) for key in self._signers.known),
        )

    async def _checkpoint_from(self, size: int, *, newest: bool = False) -> BundledCheckpoint | None:
        """Return the first checkpoint over at least so many records, or the newest."""
        rows = await (self._source.newest_checkpoints(1) if newest else self._source.first_checkpoint(size))
        return BundledCheckpoint(rows[0][0], rows[0][2].encode()) if rows else None

    async def _consistency(self, old: int, new: int) -> BundledConsistency:
        spans = consistency_spans(old, new)
        read = await read_nodes(self._connection, [node for span in spans for node in nodes_of(span)])
        return BundledConsistency(old, new, path(spans, read))


async def _pages(chosen: AsyncIterator[int]) -> AsyncIterator[list[int]]:
    page: list[int] = []
    async for place in chosen:
        page.append(place)
        if len(page) == CHOSEN_PAGE:
            yield page
            page = []
    if page:
        yield page


def _parts(places: Sequence[int]) -> Iterable[Sequence[int]]:
    return (places[start : start + CHOSEN_PAGE] for start in range(0, len(places), CHOSEN_PAGE))


def _covers(entry: Entry, place: int) -> bool:
    first, last = entry.detail.get("first"), entry.detail.get("last")
    return isinstance(first, int) and isinstance(last, int) and first <= place <= last


def _put_in_place(draft: Path, target: Path) -> None:
    if target.suffix != ".zip":
        draft.rename(target)
        return
    packed = draft.with_name(f"{draft.name}.zip")
    try:
        pack_folder(draft, packed)
        os.link(packed, target)  # never replaces a file
    finally:
        packed.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error
    except KeyFileError as error:
        raise AuditUnavailableError(str(error)) from None
