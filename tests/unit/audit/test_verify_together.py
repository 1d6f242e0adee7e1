"""Records that the verifier takes together are held to all that records one after the other are held to."""

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.verify import Checkpoint, Finding, Records, Report, Tree, Walk, leaf_hash, whole_root
from tests.unit.audit.bundles import Log


def hashed(size: int) -> Log:
    log = Log([])
    log.hashes = [leaf_hash(str(at).encode()) for at in range(size)]
    return log


@given(st.lists(st.integers(0, 700), max_size=6))
@settings(deadline=None)
def test_leaves_added_together_make_the_same_tree(parts):
    one, several = Tree(), Tree()
    hashes = [leaf_hash(str(at).encode()) for at in range(sum(parts))]
    roots = {at: whole_root(hashes[at : at + 256]) for at in range(0, len(hashes) - 255, 256)}
    at = 0
    for size in parts:
        several.extend(hashes[at : at + size], roots if size % 2 else None)
        for each in hashes[at : at + size]:
            one.add(each)
        at += size
        assert (one.size, one.root()) == (several.size, several.root())


@pytest.mark.parametrize("wrong", [None, 255, 256, 700])
def test_hashes_taken_together_are_held_to_every_checkpoint(wrong):
    log = hashed(1000)
    checkpoints = [
        Checkpoint("o", size, log.root(size), f"of {size}") for size in (1, 255, 256, 257, 512, 600, 768, 999, 1000)
    ]
    if wrong is not None:
        log.hashes[wrong] = bytes(32)
    roots = {at: whole_root(log.hashes[at : at + 256]) for at in range(0, 768, 256)}
    found: list[Finding] = []
    for known in (None, roots):
        found.clear()
        walk = Walk(Report(found.append))
        walk.expect(checkpoints)
        for begin, end in ((0, 512), (512, 513), (513, 1000)):
            walk.extend(log.hashes[begin:end], known)
        walk.end()
        assert (walk.size, walk.compared) == (1000, 9)
        held = [one.size for one in checkpoints if wrong is None or one.size <= wrong]
        assert walk.proved == held[-1]
        assert [one.code for one in found] == ([] if wrong is None else ["root"])


def test_hashes_taken_together_go_on_while_two_trees_grow():
    log = hashed(40)
    walk = Walk(Report(lambda _: None))
    walk.expect([Checkpoint("o", 40, log.root(40), "of 40")])
    walk.extend(log.hashes[:10], None)
    walk.add(bytes(32), log.hashes[10])
    walk.extend(log.hashes[11:], None)
    assert walk.proved == 40


def test_ids_taken_together_are_seen_as_one_after_the_other():
    ids = [str(uuid.UUID(int=at)) for at in range(30)]
    orders = {"rising": ids, "twice": [*ids, ids[4]], "turned": [*ids[:10], ids[11], ids[10], *ids[12:], ids[11]]}
    for name, order in orders.items():
        found: list[list[Finding]] = [[], []]
        one, several = Records(Report(found[0].append)), Records(Report(found[1].append))
        for index, entry_id in enumerate(order):
            one.took(index, [entry_id])
        for begin in range(0, len(order), 7):
            several.took(begin, order[begin : begin + 7])
        assert found[0] == found[1], name
        assert (len(found[0]), one.count, several.count) == (name != "rising", len(order), len(order))
