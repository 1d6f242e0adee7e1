from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import leaf_hash
from audit.tiles import WIDTH, TileEdge
from audit.tree import HASH_BYTES, root_of

HASHES = [leaf_hash(number.to_bytes(4)) for number in range(70_000)]


def pending(size: int) -> list[list[bytes]]:
    whole = size // WIDTH
    roots = [root_of(HASHES[at * WIDTH : (at + 1) * WIDTH]) for at in range(whole)]
    return [HASHES[whole * WIDTH : size], roots] if size else []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=6))
def test_an_edge_grows_to_the_root_of_all_and_can_be_taken_up_anywhere(steps):
    edge, size = TileEdge(), 0
    for step in steps:
        edge.extend(HASHES[size : size + step])
        size += step
        edge = TileEdge(pending(size)) if step % 2 else edge
        assert (edge.size, edge.root()) == (size, root_of(HASHES[:size]))


def test_tiles_are_those_of_the_specification():
    edge = TileEdge()
    tiles = edge.extend(HASHES)
    assert edge.root() == root_of(HASHES)
    complete = [tile for tile in tiles if tile.level == 0]
    assert [tile.position for tile in complete] == list(range(len(HASHES) // WIDTH))
    for tile in complete:
        part = HASHES[tile.position * WIDTH : (tile.position + 1) * WIDTH]
        assert tile.hashes == b"".join(part)
        assert tile.root_hash == root_of(part)
    above = [tile for tile in tiles if tile.level == 1]
    assert [(tile.position, len(tile.hashes)) for tile in above] == [(0, WIDTH * HASH_BYTES)]
    assert above[0].hashes == b"".join(tile.root_hash for tile in complete[:WIDTH])
    assert above[0].root_hash == root_of(HASHES[: WIDTH * WIDTH])
