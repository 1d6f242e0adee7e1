"""The tree in the database: complete tiles of 256 hashes (C2SP tlog-tiles), the rest from the records' leaf hashes.

A tile of level L at position P holds the hashes of the perfect subtrees `Node(8·L, 256·P)` … `Node(8·L, 256·P + 255)`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, literal, select, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.ports import AuditIntegrityError
from audit.tables import AUDIT_ENTRY, AUDIT_TILE
from audit.tree import HASH_BYTES, Edge, Node, ReadNode, Span, node_hash, nodes_of

WIDTH = 256
_HEIGHT = 8
"""Levels of the tree that one tile spans: 2^8 = 256."""


class Tile(NamedTuple):
    """One complete tile."""

    level: int
    position: int
    root_hash: bytes
    hashes: bytes
    """256 hashes of 32 bytes."""


class TileEdge:
    """The right edge of a growing tree as tiles need it: what is complete comes out, the rest waits.

    Not safe across threads.
    """

    def __init__(self, pending: Iterable[Sequence[bytes]] = ()) -> None:
        """`pending` holds for each level of tiles the hashes that are in no complete tile yet."""
        self._pending = [list(level) for level in pending]
        self.size = sum(len(level) * WIDTH**at for at, level in enumerate(self._pending))
        hashes = [
            subtree_hash(level, node)
            for level in reversed(self._pending)
            if level
            for node in nodes_of(Span(0, len(level)))
        ]
        self._edge = Edge(self.size, hashes)

    def extend(self, leaf_hashes: Iterable[bytes]) -> tuple[Tile, ...]:
        """Add leaves; return the tiles that they completed, in order."""
        tiles: list[Tile] = []
        for leaf_hash in leaf_hashes:
            self._edge.append(leaf_hash)
            self._add(0, leaf_hash, tiles)
            self.size += 1
        return tuple(tiles)

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        return self._edge.root()

    def _add(self, level: int, hash_: bytes, tiles: list[Tile]) -> None:
        if level == len(self._pending):
            self._pending.append([])
        waiting = self._pending[level]
        waiting.append(hash_)
        if len(waiting) < WIDTH:
            return
        root_hash = subtree_hash(waiting, Node(_HEIGHT, 0))
        position = (self.size + 1) // WIDTH ** (level + 1) - 1
        tiles.append(Tile(level, position, root_hash, b"".join(waiting)))
        self._pending[level] = []
        self._add(level + 1, root_hash, tiles)


def subtree_hash(hashes: Sequence[bytes], node: Node) -> bytes:
    """Return the hash of a perfect subtree over some of these hashes; `node` counts within them."""
    layer = hashes[node.position << node.level : (node.position + 1) << node.level]
    while len(layer) > 1:
        layer = [node_hash(layer[at], layer[at + 1]) for at in range(0, len(layer), 2)]
    return layer[0]


async def read_edge(connection: AsyncConnection, size: int) -> TileEdge:
    """Return the edge of the tree over the first `size` records. Raises `AuditIntegrityError` when part is gone."""
    runs, level, count = [], 0, size
    while count:
        runs.append(_Run(_Place(level, count // WIDTH), 0, count % WIDTH))
        level, count = level + 1, count // WIDTH
    held = await _fetch(connection, (), [run for run in runs if run.end])
    return TileEdge([held.get(run.place, []) for run in runs])


async def read_nodes(connection: AsyncConnection, nodes: Iterable[Node], size: int | None = None) -> ReadNode:
    """Fetch these nodes; return what reads them. Raises `AuditIntegrityError` when one is gone.

    With the size of a signed tree that holds them all, one statement fetches everything: it tells which tiles are
    complete.
    """
    wanted: dict[_Place, list[Node]] = {}
    for node in set(nodes):
        wanted.setdefault(_place_of(node), []).append(node)
    whole = {place for place in wanted if size is None or (place.position + 1) * WIDTH ** (place.level + 1) <= size}
    runs = [_run(place, inside) for place, inside in wanted.items() if place not in whole]
    held = await _fetch(connection, whole, runs)
    if gone := [place for place in whole if place not in held]:
        runs += [_run(place, wanted[place]) for place in gone]
        held |= await _fetch(connection, (), [_run(place, wanted[place]) for place in gone])
    begins = {run.place: run.begin for run in runs}
    found: dict[Node, bytes] = {}
    for place, inside in wanted.items():
        hashes = [b""] * begins.get(place, 0) + held[place]
        found |= {node: subtree_hash(hashes, _within(place, node)) for node in inside}
    return found.__getitem__


class _Place(NamedTuple):
    """Which tile."""

    level: int
    position: int


class _Run(NamedTuple):
    """Hashes of a tile that is not complete, counted within it."""

    place: _Place
    begin: int
    end: int


def _place_of(node: Node) -> _Place:
    level, inside = divmod(node.level, _HEIGHT)
    return _Place(level, (node.position << inside) // WIDTH)


def _within(place: _Place, node: Node) -> Node:
    """Return the node as it counts within its tile."""
    inside = node.level - place.level * _HEIGHT
    return Node(inside, node.position - (place.position * WIDTH >> inside))


def _run(place: _Place, nodes: Iterable[Node]) -> _Run:
    """Return the stretch of a tile that these nodes of it need."""
    inside = [_within(place, node) for node in nodes]
    begin = min(node.position << node.level for node in inside)
    return _Run(place, begin, max((node.position + 1) << node.level for node in inside))


async def _fetch(
    connection: AsyncConnection, whole: Iterable[_Place], runs: Sequence[_Run]
) -> dict[_Place, list[bytes]]:
    """Return the hashes of complete tiles (those that are there) and of runs, in one statement."""
    parts: list[Select[Any]] = []
    tile, entry = AUDIT_TILE.c, AUDIT_ENTRY.c
    if places := sorted(whole):
        chosen = tuple_(tile.level, tile.position).in_(places)
        parts.append(select(literal(-1).label("run"), tile.level, tile.position, tile.hashes).where(chosen))
    for at, run in enumerate(runs):
        begin, end = run.place.position * WIDTH + run.begin, run.place.position * WIDTH + run.end
        if run.place.level == 0:
            part = select(literal(at), literal(0), entry.leaf_index, entry.leaf_hash)
            parts.append(part.where(entry.leaf_index >= begin, entry.leaf_index < end))
        else:
            part = select(literal(at), tile.level, tile.position, tile.root_hash)
            parts.append(part.where(tile.level == run.place.level - 1, tile.position >= begin, tile.position < end))
    rows = (await connection.execute(union_all(*parts))).all() if parts else []
    held = {_Place(level, position): split(hashes) for run, level, position, hashes in rows if run == -1}
    of_run: list[list[tuple[int, bytes]]] = [[] for _ in runs]
    for at, _, position, hash_ in rows:
        if at >= 0:
            of_run[at].append((position, hash_))
    for run, found in zip(runs, of_run, strict=True):
        held[run.place] = _checked([hash_ for _, hash_ in sorted(found)], run.place.level, run.end - run.begin)
    return held


def split(hashes: bytes) -> list[bytes]:
    """Return the hashes of a complete tile one by one. Raises `AuditIntegrityError`."""
    if len(hashes) != WIDTH * HASH_BYTES:
        raise AuditIntegrityError("a tile of the tree was altered")
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _checked(hashes: list[bytes], level: int, count: int) -> list[bytes]:
    if len(hashes) != count or any(len(one) != HASH_BYTES for one in hashes):
        what = "records" if level == 0 else f"tiles of level {level - 1}"
        raise AuditIntegrityError(f"{what} of the tree are missing or altered")
    return hashes
