"""What a verifier takes for a tree, a canonical leaf, a note or a key, and what not."""

import json
import time

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import canonical_json
from audit.tree import consistency_path, inclusion_path, root_of
from audit.verify import (
    Forms,
    Report,
    Tree,
    UnreadableError,
    Walk,
    consistent,
    included,
    leaf_hash,
    parse_checkpoint,
    parse_keys,
    read_leaf,
)
from tests.unit.audit.bundles import Log, Signer, honest


@given(st.integers(1, 300), st.data())
@settings(deadline=None, max_examples=150)
def test_proofs_of_the_log_hold_and_altered_ones_do_not(size, data):
    log = honest_hashes(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    path = list(inclusion_path(index, size, log.node))
    root, old_root = log.root(size), log.root(old)
    assert included(index, size, log.hashes[index], path, root)
    assert not included(size, size, log.hashes[index], path, root)
    assert not included(index, size, log.hashes[index], [*path, root], root)
    proof = list(consistency_path(old, size, log.node))
    assert consistent(old, size, old_root, root, proof)
    assert not consistent(old, size, old_root, root, [*proof, root])
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:at], bytes(32), *path[at + 1 :]]
        assert not included(index, size, log.hashes[index], changed, root)
        assert not included(index, size, log.hashes[index], path[:-1], root)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not consistent(old, size, old_root, root, [*proof[:at], bytes(32), *proof[at + 1 :]])
        assert not consistent(old, size, old_root, root, proof[:-1])


def honest_hashes(size: int) -> Log:
    log = Log([])
    log.hashes = [leaf_hash(str(at).encode()) for at in range(size)]
    return log


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_tree_is_that_of_the_log(leaves):
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf_hash(leaf))
    assert tree.root() == root_of([leaf_hash(leaf) for leaf in leaves])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORD = {"at": "2026", "entry_id": "01a1fb45-3da7-7000-97fc-7ee5c02f35db", "kind": "login", "subject": "x"}


@given(VALUES)
@settings(deadline=None, max_examples=500)
def test_what_the_rfc_calls_canonical_is_read(value):
    leaf = rfc8785.dumps({**RECORD, "value": value})
    assert read_leaf(leaf)["subject"] == "x"
    with pytest.raises(ValueError):
        read_leaf(leaf + b" ")


@pytest.mark.parametrize(
    "value",
    [
        *("1.0", "-0", "-0.0", "1e3", "1E3", "1e-7 ", "01", "0.10", "1e-07", "1e400", "NaN", "Infinity", "1e+21 "),
        *("9007199254740993", "1" + "0" * 500, "0.1e1", '"\\u0041"', '"\\/"', '"\\u000A"', '"\\ud800"', "[1, 2]"),
        *('{"b":1,"a":2}', '{"a":1,"a":1}', "{ }"),
        '{"\ufb33":1,"\U0001f600":2}',
    ],
)
def test_what_is_not_canonical_is_refused(value):
    fields = {**RECORD, "value": "@"}
    leaf = rfc8785.dumps(fields).replace(b'"@"', value.encode())
    with pytest.raises(ValueError):
        read_leaf(leaf)


@pytest.mark.parametrize("value", ["1e-7", "1e+21", "100000000000000000000", "0.000001", "5e-324", "1.5e+300", "-1.5"])
def test_numbers_are_written_as_the_rfc_says(value):
    assert rfc8785.dumps(float(value)).decode() == value
    read_leaf(rfc8785.dumps({**RECORD, "value": "@"}).replace(b'"@"', value.encode()))


LEAF = {
    "at": "2026-11-24T10:00:00.000001Z",
    "detail": {"flag": True, "rate": 0.25, "一": None},
    "entry_id": "01a00000-0000-7000-8000-000000000001",
    "findings": [{"score": 0.9812, "where": "é"}, {"score": 1}, "x", []],
    "kind": "turn.accepted",
    "subject": "person",
}


MORE_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
TELLING = b'\x00\x1f\n "\\,:.0159-+eE{}[]tnaz\x7f\x80\xa9\xc3\xed\xf0\xff'


def long_way(leaf: bytes) -> str | None:
    """What `read_leaf` makes of a leaf."""
    try:
        return read_leaf(leaf)["entry_id"]
    except ValueError:
        return None


def test_a_form_holds_nothing_for_canonical_that_is_not():
    forms, leaf = Forms(), canonical_json(LEAF)
    assert forms.entry_id(leaf) is None
    assert forms.read(leaf) == LEAF
    assert forms.entry_id(leaf) == LEAF["entry_id"]
    known = 0
    for at, byte in ((at, byte) for at in range(len(leaf)) for byte in TELLING):
        for other in (leaf[:at] + bytes([byte]) + leaf[at + 1 :], leaf[:at] + bytes([byte]) + leaf[at:]):
            if (found := forms.entry_id(other)) is not None:
                known += 1
                assert found == long_way(other), other
    assert known > 1000, "most changes within texts and numbers keep the form"
    assert all(forms.entry_id(leaf[:at] + leaf[at + 1 :]) in (None, LEAF["entry_id"]) for at in range(len(leaf)))


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_leaf_is_told_alike_with_and_without_forms(data):
    """Leaves of every build, learnt in any order, then changed at some place."""
    forms = Forms(data.draw(st.sampled_from((json.loads, msgspec.json.decode))))
    for _ in range(4):
        more = data.draw(st.dictionaries(st.text(min_size=1, max_size=3), MORE_VALUES, max_size=4))
        leaf = canonical_json({**more, **LEAF, "kind": data.draw(st.sampled_from(("login", "logout", "\u00e9")))})
        assert forms.read(leaf) == read_leaf(leaf)
        at, byte = data.draw(st.integers(0, len(leaf) - 1)), data.draw(st.binary(max_size=2))
        changed = leaf[:at] + byte + leaf[at + data.draw(st.integers(0, 2)) :]
        for one in (leaf, changed):
            assert forms.entry_id(one) in (None, long_way(one))
            if (found := long_way(one)) is not None:
                assert (forms.read(one), found) == (read_leaf(one), forms.read(one)["entry_id"])


def test_no_leaf_makes_forms_that_cost_much():
    forms, head = Forms(), canonical_json(LEAF)[1:]
    deep = b'{"a":' + b"[" * 900 + b"]" * 900 + b"," + head
    assert forms.read(deep)["kind"] == "turn.accepted"
    for at in range(3 * Forms.MOST_OF_A_KIND):
        forms.read(b'{"a%03d":1,' % at + head)
    for at in range(3 * Forms.MOST_KINDS):
        forms.read(canonical_json({**LEAF, "kind": f"k{at:03d}"}))
    assert len(forms._by_kind) == Forms.MOST_KINDS
    assert max(map(len, forms._by_kind.values())) == Forms.MOST_OF_A_KIND
    wide = canonical_json({**LEAF, "context": ["x"] * 2**15})
    assert forms.read(wide) == read_leaf(wide)
    assert forms.entry_id(wide) is None, "long leaves are always read the long way"


def test_a_form_reads_no_part_of_a_leaf_more_often_than_it_may():
    """Elements that only the last of many ways fits: each way would read all of them before it gave up."""
    forms, ways = Forms(), [{"": "t", f"{way:02x}": []} for way in range(Forms.MOST_READ + 1)]
    many = canonical_json({**LEAF, "context": ways})
    assert forms.read(many) == read_leaf(many)
    assert forms.entry_id(many) is None
    nested = canonical_json({**LEAF, "context": [[ways[:-1]], ways[0]]})
    assert forms.read(nested) == read_leaf(nested)
    assert forms.entry_id(nested) is None
    few = canonical_json({**LEAF, "context": ways[:-1]})
    assert forms.read(few) == read_leaf(few)
    assert forms.entry_id(few) == LEAF["entry_id"]


def test_forms_are_not_made_in_vain_for_ever(monkeypatch):
    monkeypatch.setattr(Forms, "MOST_IN_VAIN", 3)
    forms, escaped = Forms(), canonical_json({**LEAF, "subject": '"'})
    for _ in range(3):
        assert forms.read(escaped)["subject"] == '"'
    assert forms.read(canonical_json(LEAF)) == LEAF
    assert forms.entry_id(canonical_json(LEAF)) is None


@pytest.mark.parametrize("depth", [20, 900])
def test_a_form_does_not_grow_with_each_nesting(depth):
    forms, leaf = Forms(), b'{"a":' + b"[" * depth + b"1" + b"]" * depth + b"," + canonical_json(LEAF)[1:]
    forms.read(leaf)
    kept = [len(form.pattern) for several in forms._by_kind.values() for form in several]
    assert all(length <= Forms.LONGEST_FORM for length in kept)
    assert forms.entry_id(leaf) == (LEAF["entry_id"] if depth == 20 else None), "one as long is read the long way"


@pytest.mark.parametrize(
    ("learnt", "tried"), [('[["x"],["x",1]]', '[["x"]]'), ("0.25", "0.25"), ("[[1],[1]]", "[[1]]")]
)
def test_no_leaf_is_tried_in_many_ways(learnt, tried):
    """Where each of many fields could be taken in two ways, a leaf that fails at its end was tried in all of them."""
    forms, head = Forms(), canonical_json(LEAF)[1:-1]
    many = [",".join(f'"a{at:02d}":{value}' for at in range(22)).encode() for value in (learnt, tried)]
    assert forms.read(b"{" + many[0] + b"," + head + b',"z":""}')
    begun = time.perf_counter()
    assert forms.entry_id(b"{" + many[1] + b"," + head + b',"z":""}') == LEAF["entry_id"]
    assert forms.entry_id(b"{" + many[1] + b"," + head + b',"z":1}') is None
    assert time.perf_counter() - begun < 0.5


def test_what_the_log_says_of_prunings_is_always_read():
    forms, leaf = Forms(), canonical_json({**LEAF, "kind": "retention.pruned"})
    forms.read(leaf)
    assert forms.entry_id(leaf) is None


def test_notes_that_are_not_quite_notes_are_refused():
    signer = Signer()
    keys = parse_keys(signer.public.encode())
    good = signer.checkpoint(5, bytes(32))
    assert parse_checkpoint(good, keys, "it").size == 5
    for bad in (
        *(good[:-1], good + b"\n", good[:-2] + b"\n", good.replace(b"\n\n", b"\n"), b"", b"\n\n"),
        *(signer.checkpoint(5, bytes(31)), signer.note("origin\n05\n" + "A" * 43 + "=\n").encode()),
        signer.note("origin\n5\n" + "A" * 42 + "B=\n").encode(),  # the last bits of the root are not free
        good.replace("—".encode(), b"-"),
        good + good.splitlines(keepends=True)[-1].swapcase(),
        good + signer.checkpoint(6, bytes(32)).splitlines(keepends=True)[-1],
    ):
        with pytest.raises(UnreadableError):
            parse_checkpoint(bad, keys, "it")
    other = Signer(b"\x01" * 32, name="witness.example")
    text, _, signature = good.decode().partition("\n\n")
    countersigned = f"{text}\n\n{other.note(text + chr(10)).rpartition(chr(10) * 2)[2]}{signature}".encode()
    assert parse_checkpoint(countersigned, keys, "it").size == 5


@pytest.mark.parametrize("change", ["x", "+", "a+b+c", "\xff"])
def test_keys_that_are_none_are_refused(change):
    with pytest.raises(UnreadableError):
        parse_keys(change.encode("latin-1"))
    name, digest, key = Signer().public.split("+", 2)
    for text in (f"{name}+00000000+{key}", f"{name}x+{digest}+{key}", f"{name}+{digest}+{key[:-4]}"):
        with pytest.raises(UnreadableError):
            parse_keys(text.encode())


def test_a_walk_goes_on_after_a_wrong_stated_hash():
    log = honest(30)
    keys = parse_keys(log.signer.public.encode())
    sizes = (10, 20, 30)
    checkpoints = [parse_checkpoint(log.checkpoint(size), keys, f"of {size}") for size in sizes]
    found = []
    walk = Walk(Report(found.append))
    walk.expect(checkpoints)
    for index, digest in enumerate(log.hashes):
        own = bytes(32) if index in (3, 23) else digest
        walk.add(own, bytes(32) if index == 12 else digest)
    walk.end()
    assert (walk.proved, walk.compared, found) == (30, 3, [])


def test_a_walk_passes_over_a_gap_of_any_length_at_once():
    log, found = honest(9), []
    keys = parse_keys(log.signer.public.encode())
    walk = Walk(Report(found.append))
    walk.expect([parse_checkpoint(log.checkpoint(size), keys, f"of {size}") for size in (2, 5, 9)])
    walk.extend(log.hashes[:3])
    walk.gap(9 * 10**14)
    walk.add(log.hashes[3], log.hashes[3])
    walk.extend(log.hashes[4:])
    walk.end()
    assert (walk.size, walk.proved, walk.compared, found) == (9 * 10**14 + 9, 2, 1, [])
