"""`fsck`: rebuild every hash of the tree from what the database holds, and name whatever is not as it was signed.

Reads in pages, so memory stays flat, and changes nothing. The stand-alone verifier shares no code with this on purpose.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.canonical import column, entry_of, leaf_hash
from audit.checkpoint import opened
from audit.note import NoteError
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.prover import StoredCheckpoint, parsed
from audit.record import Entry, Kind
from audit.rows import microseconds
from audit.signing import Signers
from audit.tables import AUDIT_CHECKPOINT, AUDIT_ENTRY, AUDIT_TILE
from audit.tiles import Tile, TileEdge
from audit.tree import HASH_BYTES

PAGE = 1000
_LARGEST_GAP = 1_000_000
_GONE = bytes(HASH_BYTES)
"""Stands in the tree for the hash of a record that is missing."""


class Flaw(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong."""

    code: str
    """`missing | altered | column | emptied | unsigned | tile | checkpoint`."""
    what: str
    index: int | None = None
    entry_id: str = ""


class Counts(msgspec.Struct):
    """What a run looked at."""

    tree_size: int = 0
    records: int = 0
    emptied: int = 0
    checkpoints: int = 0
    tiles: int = 0
    unsequenced: int = 0


class Fsck:
    """One run over a database."""

    def __init__(self, engine: AsyncEngine, signers: Signers) -> None:
        self.counts = Counts()
        self._engine = engine
        self._signers = signers
        self._edge = TileEdge()
        self._sound = 0
        """Size of the newest checkpoint that the records make."""
        self._broken = 0
        self._emptied: list[tuple[int, int]] = []
        self._pruned: list[tuple[int, int]] = []

    async def flaws(self) -> AsyncIterator[Flaw]:
        """Yield what is wrong, in the order of the log. Raises `AuditUnavailableError`."""
        size, highest = await self._size()
        after = -1
        while rows := await self._fetch(_entries(after, max(size - 1, highest))):
            after = rows[-1].leaf_index
            checkpoints = await self._fetch(_checkpoints(self._edge.size, min(after + 1, size)))
            flaws, tiles = await asyncio.to_thread(self._page, rows, checkpoints, size)
            for flaw in (*flaws, *await self._compared(tiles)):
                yield flaw
        if self._edge.size < size:
            yield Flaw("missing", f"records {self._edge.size} to {size - 1} are missing", self._edge.size)
            for row in (await self._fetch(_checkpoints(self._edge.size, size)))[:1]:
                yield Flaw("checkpoint", f"the checkpoint of {row.tree_size} records has no such tree")
        if self._broken > 1:
            yield Flaw("checkpoint", f"{self._broken - 1} later checkpoints do not hold either")
        for row in await self._fetch(_surplus_tiles()):
            yield Flaw("tile", f"tile {row.level}/{row.position} belongs to no signed tree")
        for flaw in self._unexplained():
            yield flaw

    def _page(self, rows: Sequence[Any], checkpoints: Sequence[Any], size: int) -> tuple[list[Flaw], list[Tile]]:
        flaws: list[Flaw] = []
        tiles: list[Tile] = []
        waiting = list(reversed(checkpoints))
        for row in rows:
            index, gap = row.leaf_index, row.leaf_index - self._edge.size
            flaws += self._record(row)
            if index >= size:
                flaws.append(Flaw("unsigned", "the record has a place beyond the signed tree", index, row.entry_id))
                continue
            if gap:
                flaws.append(_misplaced(index, self._edge.size, row.entry_id))
                if not 0 < gap <= _LARGEST_GAP:
                    continue
                tiles += self._edge.extend([_GONE] * gap)
            tiles += self._edge.extend([row.leaf_hash])
            while waiting and waiting[-1].tree_size <= self._edge.size:
                flaws += self._checkpoint(waiting.pop())
        return flaws, tiles

    def _record(self, row: Any) -> Iterator[Flaw]:
        """Check a record by itself."""
        index = row.leaf_index
        self.counts.records += 1
        if not row.leaf:
            self.counts.emptied += 1
            if self._emptied and self._emptied[-1][1] == index - 1:
                self._emptied[-1] = (self._emptied[-1][0], index)
            else:
                self._emptied.append((index, index))
            return
        if leaf_hash(row.leaf) != row.leaf_hash:
            yield Flaw("altered", "the leaf does not have the hash that stands beside it", index, row.entry_id)
            return
        try:
            entry = entry_of(row.leaf)
        except (msgspec.MsgspecError, ValueError):
            yield Flaw("altered", "the leaf is not a record", index, row.entry_id)
            return
        for name in _wrong_columns(entry, row):
            yield Flaw("column", f"the column {name} is not what the leaf says", index, row.entry_id)
        if entry.kind is Kind.RETENTION_PRUNED:
            self._pruned.append(_pruned_run(entry))

    def _checkpoint(self, row: Any) -> Iterator[Flaw]:
        self.counts.checkpoints += 1
        stored = StoredCheckpoint(row.tree_size, row.root_hash, row.note, row.at_us)
        try:
            opened(stored.note, self._signers.origin, self._signers.known)
            parsed(stored)
        except (NoteError, AuditIntegrityError) as error:
            yield Flaw("checkpoint", f"the checkpoint of {stored.size} records: {error}")
        if (stored.size, stored.root_hash) == (self._edge.size, self._edge.root()):
            self._sound = stored.size
            return
        self._broken += 1
        if self._broken == 1:
            what = f"the tree of {stored.size} records was another one when it was signed: look between here and there"
            yield Flaw("checkpoint", what, self._sound)

    async def _compared(self, tiles: Sequence[Tile]) -> list[Flaw]:
        """Compare the tiles that the records make with those that are stored."""
        if not tiles:
            return []
        held = AUDIT_TILE.c
        places = [(tile.level, tile.position) for tile in tiles]
        query = select(*held).where(tuple_(held.level, held.position).in_(places))
        stored = {(row.level, row.position): row for row in await self._fetch(query)}
        self.counts.tiles += len(tiles)
        flaws: list[Flaw] = []
        for tile in tiles:
            row = stored.get((tile.level, tile.position))
            if row is None:
                flaws.append(Flaw("tile", f"tile {tile.level}/{tile.position} is missing"))
            elif (row.root_hash, row.hashes) != (tile.root_hash, tile.hashes):
                flaws += _tile_flaws(tile, row.hashes)
        return flaws

    def _unexplained(self) -> Iterator[Flaw]:
        """Name emptied records that no record of a pruning covers."""
        runs = sorted(self._pruned)
        for first, last in self._emptied:
            at = first
            for begin, end in runs:
                if begin <= at <= end:
                    at = end + 1
            if at <= last:
                yield Flaw("emptied", f"records {at} to {last} are empty, and no record says they were pruned", at)

    async def _size(self) -> tuple[int, int]:
        """Return the size of the newest signed tree and the highest place; one statement, hence one moment."""
        entry, checkpoint = AUDIT_ENTRY.c, AUDIT_CHECKPOINT.c
        query = select(
            select(func.coalesce(func.max(checkpoint.tree_size), 0)).scalar_subquery().label("size"),
            select(func.coalesce(func.max(entry.leaf_index), -1)).scalar_subquery().label("highest"),
            select(func.count()).where(entry.leaf_index.is_(None)).scalar_subquery().label("waiting"),
        )
        (row,) = await self._fetch(query)
        self.counts.tree_size, self.counts.unsequenced = row.size, row.waiting
        return row.size, row.highest

    async def _fetch(self, query: Select[Any]) -> Sequence[Any]:
        try:
            async with self._engine.connect() as connection:
                rows: Sequence[Any] = (await connection.execute(query)).all()
                return rows
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error


def _entries(after: int, last: int) -> Select[Any]:
    entry = AUDIT_ENTRY.c
    query = select(*entry).where(entry.leaf_index > after, entry.leaf_index <= last)
    return query.order_by(entry.leaf_index).limit(PAGE)


def _checkpoints(after: int, last: int) -> Select[Any]:
    checkpoint = AUDIT_CHECKPOINT.c
    query = select(*checkpoint).where(checkpoint.tree_size > after, checkpoint.tree_size <= last)
    return query.order_by(checkpoint.tree_size)


def _surplus_tiles() -> Select[Any]:
    """Ask for tiles that the newest signed tree is too small to have; one statement, because the tree may grow."""
    held = AUDIT_TILE.c
    size = select(func.coalesce(func.max(AUDIT_CHECKPOINT.c.tree_size), 0)).scalar_subquery()
    whole = size.op(">>")(literal(8) * (held.level + literal(1)))
    return select(held.level, held.position).where(held.position >= whole).order_by(held.level, held.position)


def _misplaced(index: int, expected: int, entry_id: str) -> Flaw:
    if index < expected:
        return Flaw("altered", "two records have this place", index, entry_id)
    return Flaw("missing", f"records {expected} to {index - 1} are missing", expected)


def _wrong_columns(entry: Entry, row: Any) -> list[str]:
    said = {
        "entry_id": entry.entry_id,
        "kind": entry.kind.value,
        "at_us": microseconds(entry.at),
        "subject": column(entry.subject),
        "turn_id": column(entry.turn_id),
    }
    return [name for name, value in said.items() if getattr(row, name) != value]


def _pruned_run(entry: Entry) -> tuple[int, int]:
    first, last = entry.detail.get("first", 0), entry.detail.get("last", -1)
    return (int(first), int(last)) if isinstance(first, int) and isinstance(last, int) else (0, -1)


def _tile_flaws(tile: Tile, held: bytes) -> list[Flaw]:
    where = f"tile {tile.level}/{tile.position}"
    if tile.level or len(held) != len(tile.hashes):
        return [Flaw("tile", f"{where} is not what the records make")]
    flaws = []
    for at in range(0, len(held), HASH_BYTES):
        here = tile.hashes[at : at + HASH_BYTES]
        if here not in (held[at : at + HASH_BYTES], _GONE):
            index = tile.position * len(held) // HASH_BYTES + at // HASH_BYTES
            flaws.append(Flaw("altered", f"the leaf hash is not the one in {where}", index))
    return flaws or [Flaw("tile", f"{where} is not what the records make")]
