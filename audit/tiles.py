"""The tree in the database: complete tiles of 256 hashes (C2SP tlog-tiles), the rest from the records' leaf hashes.

A tile of level L at position P holds the hashes of the perfect subtrees `Node(8·L, 256·P)` … `Node(8·L, 256·P + 255)`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import select, tuple_
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
    pending, level, count = [], 0, size
    while count:
        begin = count - count % WIDTH
        pending.append(await _read_hashes(connection, level, begin, count))
        level, count = level + 1, count // WIDTH
    return TileEdge(pending)


async def read_nodes(connection: AsyncConnection, nodes: Iterable[Node]) -> ReadNode:
    """Fetch these nodes in few queries; return what reads them. Raises `AuditIntegrityError` when one is gone."""
    wanted = sorted(set(nodes))
    tiles = await _read_tiles(connection, {_place(node)[:2] for node in wanted})
    held: dict[Node, bytes] = {}
    loose: dict[tuple[int, int], list[Node]] = {}
    for node in wanted:
        level, position, inside = _place(node)
        hashes = tiles.get((level, position))
        if hashes is None:
            loose.setdefault((level, position), []).append(node)
        else:
            held[node] = subtree_hash(hashes, inside)
    for (level, position), several in loose.items():
        insides = [_place(node)[2] for node in several]
        begin = min(inside.position << inside.level for inside in insides)
        end = max((inside.position + 1) << inside.level for inside in insides)
        start = position * WIDTH
        found = await _read_hashes(connection, level, start + begin, start + end)
        padded = [b""] * begin + found
        held.update((node, subtree_hash(padded, inside)) for node, inside in zip(several, insides, strict=True))
    return held.__getitem__


def _place(node: Node) -> tuple[int, int, Node]:
    """Return level and position of the tile that a node is in, and the node within it."""
    level, inside = divmod(node.level, _HEIGHT)
    position, offset = divmod(node.position << inside, WIDTH)
    return level, position, Node(inside, offset >> inside)


async def _read_tiles(
    connection: AsyncConnection, places: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], list[bytes]]:
    tile = AUDIT_TILE.c
    query = select(tile.level, tile.position, tile.hashes).where(tuple_(tile.level, tile.position).in_(sorted(places)))
    tiles = {}
    for level, position, hashes in (await connection.execute(query)).all():
        if len(hashes) != WIDTH * HASH_BYTES:
            raise AuditIntegrityError(f"tile {level}/{position} of the tree was altered")
        tiles[level, position] = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    return tiles


async def _read_hashes(connection: AsyncConnection, level: int, begin: int, end: int) -> list[bytes]:
    """Return the hashes of the nodes `Node(8·level, begin)` up to `end`, from the rows that have them one by one."""
    if level == 0:
        entry = AUDIT_ENTRY.c
        query = select(entry.leaf_hash).where(entry.leaf_index >= begin, entry.leaf_index < end)
        query = query.order_by(entry.leaf_index)
    else:
        tile = AUDIT_TILE.c
        query = select(tile.root_hash).where(tile.level == level - 1, tile.position >= begin, tile.position < end)
        query = query.order_by(tile.position)
    hashes = list((await connection.execute(query)).scalars())
    if len(hashes) != end - begin or any(len(one) != HASH_BYTES for one in hashes):
        what = "records" if level == 0 else f"tiles of level {level - 1}"
        raise AuditIntegrityError(f"{what} between {begin} and {end - 1} of the tree are missing or altered")
    return hashes
