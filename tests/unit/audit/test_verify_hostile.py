"""Every byte of a bundle counts, and no bundle can do harm to who verifies it."""

import json
import os
import struct
import tracemalloc
import zipfile

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
    SeenIds,
    Tree,
    UnreadableError,
    Walk,
    consistent,
    included,
    leaf_hash,
    main,
    parse_checkpoint,
    parse_keys,
    read_leaf,
)
from tests.unit.audit.bundles import Log, Signer, edit_lines, forge, honest, verify


def flips(data: bytes):
    for at in range(len(data)):
        yield at, data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


def test_every_flipped_byte_of_a_zip_file_is_found(tmp_path):
    path = honest(4).write(tmp_path / "bundle.zip", sizes=(2, 4))
    whole = path.read_bytes()
    missed = []
    for at, flipped in flips(whole):
        path.write_bytes(flipped)
        if verify(path).ok:
            missed.append(at)
    assert missed == []


def test_every_flipped_byte_of_a_folder_is_found(tmp_path):
    folder = honest(5).write(tmp_path / "bundle", sizes=(2, 5), only=(1, 2, 4))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for at, flipped in flips(whole):
            path.write_bytes(flipped)
            assert not verify(folder).ok, (path.name, at)
        path.write_bytes(whole)
    assert verify(folder).ok


def test_every_flipped_byte_of_a_leaf_is_named_even_when_the_manifest_fits(tmp_path):
    log = honest(6)
    folder = log.write(tmp_path / "bundle")
    path = folder / "leaves.ndjson"
    whole, begin = path.read_bytes(), 0
    for index, record in enumerate(log.records):
        for at in range(begin, begin + len(record.leaf), 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            forge(folder)
            named = verify(folder).named()
            assert ("altered", index, None) in named or ("missing", index, None) in named, (index, at, named)
        begin += len(record.leaf) + 1


@pytest.mark.parametrize("cut", [0, 1, 10, 21, 22, 97, 98, 99, 500])
def test_a_zip_file_cut_short_or_added_to_is_found(tmp_path, cut):
    path = honest(6).write(tmp_path / "bundle.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut] if cut else whole + b"\0")
    assert verify(path).codes() == {"unreadable"}
    path.write_bytes(whole[cut + 1 :])
    assert verify(path).codes() == {"unreadable"}


def test_a_bomb_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("manifest.json", b"0" * 50_000_000)
    tracemalloc.start()
    assert verify(tmp_path / "bomb.zip").codes() == {"unreadable"}
    assert tracemalloc.get_traced_memory()[1] < 3_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "checkpoints/../../evil", "leaves.ndjson\x00x", "x" * 300])
def test_names_that_lead_elsewhere_are_never_opened(tmp_path, name):
    folder = honest(3).write(tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = {"bytes": 0, "sha256": "0" * 64}
    (folder / "manifest.json").write_bytes(canonical_json(manifest))
    assert verify(folder).codes() == {"file"}


def test_links_and_other_things_in_a_folder_are_refused(tmp_path):
    folder = honest(3).write(tmp_path / "bundle")
    (folder / "more.txt").symlink_to("/etc/passwd")
    assert verify(folder).codes() == {"unreadable"}
    (folder / "more.txt").unlink()
    os.mkfifo(folder / "more.txt")
    assert verify(folder).codes() == {"unreadable"}
    (folder / "more.txt").unlink()
    (folder / "more.txt").write_text("x")
    assert verify(folder).codes() == {"file"}


@pytest.mark.parametrize("name", ["contents.ndjson", "index.txt", "keys.txt", "leaves.ndjson", "manifest.json"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"{}\n",
        b"null\n",
        b"9" * 5000 + b"\n",
        b'{"a":1e999}\n',
        b"x",
    ],
)
def test_nonsense_in_any_file_is_a_finding(tmp_path, name, data):
    folder = honest(3).write(tmp_path / "bundle")
    (folder / name).write_bytes(data)
    assert not verify(folder).ok
    if name != "manifest.json":
        forge(folder)
        assert verify(folder).ok == (name == "contents.ndjson" and data == b"")  # then it is a bundle without texts


@pytest.mark.parametrize(
    "text",
    ['{"index":0}', '{"index":-1}', "[]", '{"index":true,"name":"","nonce":"","ordinal":0,"role":"","text":""}'],
)
def test_nonsense_texts_are_findings(tmp_path, text):
    folder = honest(3).write(tmp_path / "bundle")
    edit_lines(folder / "contents.ndjson", lambda lines: [text.encode(), *lines])
    forge(folder)
    assert verify(folder).codes() == {"content"}


def test_a_line_without_end_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("audit.verify.LONGEST_LINE", 1000)
    folder = honest(3).write(tmp_path / "bundle")
    (folder / "leaves.ndjson").write_bytes(b"x" * 5000)
    forge(folder)
    assert verify(folder).codes() == {"unreadable"}


def test_findings_cannot_drive_the_terminal(tmp_path, capsys):
    folder = honest(3).write(tmp_path / "bundle")
    (folder / "\x1b[2J\u202e.txt").write_text("x")
    assert main([str(folder)]) == 1
    assert capsys.readouterr().out.isascii()
    assert "\x1b" not in capsys.readouterr().out


def test_a_member_that_claims_to_be_huge_is_refused(tmp_path):
    path = honest(3).write(tmp_path / "bundle.zip")
    data = path.read_bytes()
    for claimed in (2**32, 2**62, 2**64 - 1):
        for field in (-74, -66, -58, -50):
            path.write_bytes(data[:field] + struct.pack("<Q", claimed) + data[field + 8 :])
            assert verify(path).codes() == {"unreadable"}


# --- pruning and ids


def pruned_log(first: int, last: int, count: int, gone: range) -> Log:
    log = honest(20)
    fields = json.loads(log.records[19].leaf)
    fields |= {"kind": "retention.pruned", "detail": {"first": first, "last": last, "count": count}}
    leaf = canonical_json(fields)
    records = [*log.records[:19], msgspec.structs.replace(log.records[19], leaf=leaf, leaf_hash=leaf_hash(leaf))]
    return Log([msgspec.structs.replace(one, leaf=b"", texts=()) if one.index in gone else one for one in records])


@pytest.mark.parametrize(
    ("first", "last", "count", "gone", "expected"),
    [
        (0, 9, 10, range(10), []),
        (0, 9, 8, range(1, 9), []),
        (0, 9, 10, range(3, 12), [("missing", 10, 11)]),
        (2, 9, 8, range(10), [("missing", 0, 1)]),
        (0, 9, 5, range(10), [("missing", 0, 9)]),
        (5, 25, 3, range(5, 8), [("malformed", 19, None), ("missing", 5, 7)]),
        (-1, 3, 3, range(1), [("malformed", 19, None), ("missing", 0, 0)]),
        (True, 3, 3, range(1), [("malformed", 19, None), ("missing", 0, 0)]),
    ],
)
def test_pruned_records_count_only_when_the_log_says_so(tmp_path, first, last, count, gone, expected):
    log = pruned_log(first, last, count, gone)
    verified = verify(log.write(tmp_path / "bundle", sizes=(4, 20)))
    assert verified.named() == expected
    if not expected:
        assert verify(log.write(tmp_path / "chosen", only=(1, 4, 19))).ok


def test_the_same_id_twice_is_named(tmp_path):
    log = honest(20)
    twice = Log([*log.records, *(one for one in log.records[3:4])])
    twice.records[20] = msgspec.structs.replace(twice.records[20], index=20, texts=())
    assert verify(twice.write(tmp_path / "bundle")).named() == [("duplicate", 20, None)]


def test_the_same_id_twice_far_apart_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("audit.verify.SeenIds.__init__.__defaults__", (4,))
    log = honest(20)
    twice = Log([*log.records, msgspec.structs.replace(log.records[3], index=20, texts=())])
    assert verify(twice.write(tmp_path / "bundle")).named() == [("duplicate", 20, None)]
    late = Log([*log.records[:2], *log.records[3:], msgspec.structs.replace(log.records[2], index=19)])
    late.records = [msgspec.structs.replace(one, index=at) for at, one in enumerate(late.records)]
    assert verify(late.write(tmp_path / "late")).ok


def test_seen_ids_forget_what_is_old_and_say_so():
    seen = SeenIds(window=3)
    assert [seen.add(one, at) for at, one in enumerate("abcdefgh")] == [None] * 8
    assert [seen.add(one, 8) for one in "hgf"] == [7, 6, 5], "as many as the window has are surely known"
    assert (seen.add("a", 9), seen.late) == (None, {"a": 9})


# --- the parts, held to other implementations and to the specifications


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
        more = data.draw(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=4))
        leaf = canonical_json({**more, **LEAF, "kind": data.draw(st.sampled_from(("login", "logout", "\u00e9")))})
        assert forms.read(leaf) == read_leaf(leaf)
        at, byte = data.draw(st.integers(0, len(leaf) - 1)), data.draw(st.binary(max_size=2))
        changed = leaf[:at] + byte + leaf[at + data.draw(st.integers(0, 2)) :]
        for one in (leaf, changed):
            assert forms.entry_id(one) in (None, long_way(one))
            if (found := long_way(one)) is not None:
                assert (forms.read(one), found) == (read_leaf(one), forms.read(one)["entry_id"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


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
