"""Every byte of a bundle counts, and no bundle can do harm to who verifies it."""

import json
import os
import struct
import time
import tracemalloc
import zipfile

import msgspec
import pytest

from audit.canonical import canonical_json
from audit.verify import SeenIds, _uncovered, leaf_hash, main
from tests.unit.audit.bundles import Log, edit_lines, forge, honest, verify


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


def test_an_index_that_names_a_far_place_costs_nothing(tmp_path):
    folder, far = honest(3).write(tmp_path / "bundle"), 9 * 10**14
    edit_lines(folder / "index.txt", lambda lines: [*lines[:2], lines[2].replace(b"2 ", b"%d " % far, 1)])
    forge(folder)
    manifest = json.loads((folder / "manifest.json").read_bytes()) | {"tree_size": far}
    (folder / "manifest.json").write_bytes(canonical_json(manifest))
    assert ("missing", 2, far - 1) in verify(folder).named()


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


def test_many_gaps_take_time_in_proportion():
    spans = [[at * 4, at * 4 + 1, 2] for at in range(60_000)]
    began = time.process_time()
    found = [gap for first, last, _ in list(map(tuple, spans)) for gap in _uncovered(first, last, spans)]
    assert (found, {left for _, _, left in spans}) == ([], {0})
    assert time.process_time() - began < 2, "17 s where what is left of the list is copied for each of them"


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
