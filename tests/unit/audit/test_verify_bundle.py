"""The verifier that stands alone: honest bundles pass, and whatever is altered is named."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from audit.bundle.files import BundledRecord
from audit.canonical import leaf_hash
from tests.unit.audit.bundles import Log, Signer, edit_lines, forge, honest, verify

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def log() -> Log:
    return honest(40)


@pytest.fixture
def folder(log, tmp_path) -> Path:
    return log.write(tmp_path / "bundle", sizes=(8, 16, 40))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 255, 256, 257])
@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_honest_bundles_hold(tmp_path, count, name):
    verified = verify(honest(count).write(tmp_path / name))
    assert verified.ok, verified.findings
    assert (verified.summary.records, verified.summary.tree_size) == (count, count)


def test_an_empty_log_holds(tmp_path):
    assert verify(honest(0).write(tmp_path / "bundle.zip")).ok


@pytest.mark.parametrize("only", [(), (0,), (39,), (3, 4, 5, 17), tuple(range(40))])
def test_honest_selections_hold(log, tmp_path, only):
    verified = verify(log.write(tmp_path / "bundle.zip", sizes=(5, 40), only=only))
    assert verified.ok, verified.findings
    assert verified.summary.records == len(only)


def test_ten_thousand_honest_records_raise_no_alarm(tmp_path):
    log = honest(10_000, big=True)
    verified = verify(log.write(tmp_path / "bundle.zip", sizes=tuple(range(0, 10_001, 500))), log.checkpoint(777))
    assert verified.ok, verified.findings
    assert (verified.summary.records, verified.summary.texts) == (10_000, 2_000)


def test_any_program_unpacks_the_zip_file(log, tmp_path):
    path = log.write(tmp_path / "bundle.zip")
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        packed.extractall(tmp_path / "unpacked")
    assert verify(tmp_path / "unpacked").ok
    if shutil.which("unzip"):
        assert subprocess.run(["unzip", "-tqq", path], check=False).returncode == 0


# --- altered records, by somebody who also makes the manifest fit


def swap(first: int, second: int):
    def change(lines):
        lines[first], lines[second] = lines[second], lines[first]
        return lines

    return change


def drop(at: int, count: int = 1):
    return lambda lines: lines[:at] + lines[at + count :]


def insert(at: int, line: bytes):
    return lambda lines: [*lines[:at], line, *lines[at:]]


STRANGER = honest(60).records[50].leaf
LEAF_CHANGES = {
    "altered": (lambda lines: [*lines[:7], lines[7].replace(b"allow", b"block"), *lines[8:]], [("altered", 7, None)]),
    "exchanged": (lambda lines: [*lines[:7], STRANGER, *lines[8:]], [("altered", 7, None)]),
    "dropped": (drop(7), [("missing", 7, None)]),
    "first dropped": (drop(0), [("missing", 0, None)]),
    "two dropped": (drop(7, 2), [("missing", 7, None), ("missing", 8, None)]),
    "last dropped": (drop(39), [("missing", 39, None)]),
    "inserted": (insert(7, STRANGER), [("extra", 7, None)]),
    "appended": (insert(40, STRANGER), [("extra", None, None)]),
    "swapped": (swap(7, 8), [("reordered", 7, None), ("reordered", 8, None)]),
    "swapped far": (swap(3, 30), [("reordered", 3, None), ("reordered", 30, None)]),
    "duplicated": (lambda lines: [*lines[:8], lines[7], *lines[8:]], [("duplicate", 8, None)]),
    "truncated": (lambda lines: lines[:38], [("missing", 38, None), ("missing", 39, None)]),
    "pruned": (lambda lines: [*lines[:7], b"", *lines[8:]], [("missing", 7, 7)]),
}


@pytest.mark.parametrize("change", LEAF_CHANGES)
def test_a_changed_leaf_is_named(folder, change):
    done, expected = LEAF_CHANGES[change]
    edit_lines(folder / "leaves.ndjson", done)
    forge(folder)
    named = verify(folder).named()
    assert [one for one in named if one[0] not in ("content", "manifest", "duplicate")] == [
        one for one in expected if one[0] != "duplicate"
    ]
    assert set(expected) <= set(named)


BOTH_CHANGES = {
    "dropped": (drop(9), ("missing", 9, 9)),
    "dropped at the end": (drop(39), ("truncated", 39, 39)),
    "truncated": (lambda lines: lines[:30], ("truncated", 30, 39)),
    "duplicated": (lambda lines: [*lines[:8], lines[7], *lines[8:]], ("reordered", 7, None)),
    "swapped": (swap(7, 8), ("missing", 7, 7)),
    "inserted": (lambda lines: [*lines[:8], lines[20], *lines[8:]], ("missing", 8, 19)),
}


@pytest.mark.parametrize("change", BOTH_CHANGES)
def test_a_record_changed_together_with_the_index_is_named(folder, change):
    done, expected = BOTH_CHANGES[change]
    for name in ("leaves.ndjson", "index.txt"):
        edit_lines(folder / name, done)
    forge(folder)
    assert expected in verify(folder).named()


@pytest.mark.parametrize("change", [drop(9), swap(9, 10), insert(9, STRANGER), lambda lines: [*lines, STRANGER]])
def test_a_careful_forger_is_held_by_the_signed_roots(log, folder, change):
    """Leaves, hashes and indices all fit each other; only the checkpoints do not."""
    leaves = change([one.leaf for one in log.records])
    forged = Log([record_of(at, leaf) for at, leaf in enumerate(leaves)])
    folder_of = forged.write(folder.parent / "forged", sizes=(len(leaves),))
    for name in ("index.txt", "leaves.ndjson"):
        shutil.copy(folder_of / name, folder / name)
    edit_lines(folder / "contents.ndjson", lambda _: [])
    forge(folder)
    named = verify(folder).named()
    assert named[0][:2] == ("root", 8 if len(leaves) != 41 or leaves[-1] != STRANGER else 40) or named[0][0] == "extra"
    assert {one[0] for one in named} & {"root", "extra"}


def record_of(index: int, leaf: bytes):
    return BundledRecord(index=index, leaf=leaf, leaf_hash=leaf_hash(leaf))


def test_a_stated_hash_alone_altered_is_named_once(folder):
    edit_lines(folder / "index.txt", lambda lines: [*lines[:5], b"5 " + b"0" * 64, *lines[6:]])
    forge(folder)
    assert verify(folder).named() == [("altered", 5, None)]


def test_altered_texts_are_named(folder):
    path = folder / "contents.ndjson"
    path.write_bytes(path.read_bytes().replace("问题 5".encode(), "问题 6".encode(), 1))
    forge(folder)
    assert verify(folder).named() == [("content", 5, None)]


@pytest.mark.parametrize("change", [drop(2), swap(1, 2), lambda lines: [*lines, lines[-1]]])
def test_texts_out_of_place_are_named(folder, change):
    edit_lines(folder / "contents.ndjson", change)
    assert "content" in verify(folder).codes() | {"content" if change(["a", "b", "c"]) == ["a", "b"] else ""}
    assert not verify(folder).ok


def test_a_text_without_its_record_is_named(log, tmp_path):
    folder = log.write(tmp_path / "bundle", only=(3, 5))
    edit_lines(folder / "contents.ndjson", lambda lines: [lines[0].replace(b'"index":5', b'"index":4')])
    forge(folder)
    assert verify(folder).named() == [("content", 4, None)]


def test_a_record_that_is_not_in_the_log_is_named(log, tmp_path):
    folder = log.write(tmp_path / "bundle", only=(3, 5, 9))
    edit_lines(folder / "leaves.ndjson", lambda lines: [lines[0], STRANGER, lines[2]])
    forge(folder)
    named = verify(folder).named()
    assert ("altered", 5, None) in named
    edit_lines(folder / "index.txt", lambda lines: [lines[0], lines[1].replace(b"5 ", b"6 ", 1), lines[2]])
    forge(folder)
    assert ("inclusion", 6, None) in verify(folder).named()


# --- checkpoints and keys


def test_a_rollback_is_caught_with_a_checkpoint_from_outside(log, tmp_path):
    older = Log(log.records[:30]).write(tmp_path / "older")
    assert verify(older).ok
    assert verify(older, log.checkpoint(30)).ok
    assert verify(older, log.checkpoint(12)).ok
    assert verify(older, log.checkpoint(40)).named() == [("rollback", 30, 39)]
    chosen = Log(log.records[:30]).write(tmp_path / "chosen", sizes=(12, 30), only=(1, 2))
    assert verify(chosen, log.checkpoint(12)).ok
    assert verify(chosen, log.checkpoint(40)).codes() == {"rollback"}
    assert verify(chosen, log.checkpoint(13)).codes() == {"consistency"}


def test_a_fork_is_caught_with_a_checkpoint_from_outside(log, tmp_path):
    """The holder of the key rewrites history and signs it anew: the bundle holds, what was kept outside does not."""
    changed = [*log.records[:20], record_of(20, STRANGER), *log.records[21:]]
    forked = Log(changed).write(tmp_path / "forked", sizes=(10, 40))
    assert verify(forked).ok
    assert verify(forked, log.checkpoint(15), log.checkpoint(20)).ok
    for size in (21, 30, 40):
        assert verify(forked, log.checkpoint(size)).codes() == {"fork"}
    chosen = Log(changed).write(tmp_path / "chosen", sizes=(30, 40), only=(1, 2))
    assert verify(chosen, log.checkpoint(30)).codes() == {"fork"}


def test_two_signed_trees_that_differ_are_a_fork_inside_too(log, folder):
    changed = Log([*log.records[:3], record_of(3, STRANGER), *log.records[4:]])
    (folder / "checkpoints" / f"{16:020d}").write_bytes(changed.checkpoint(16))
    forge(folder)
    assert verify(folder).codes() == {"consistency", "root"}


def test_another_key_is_caught(log, tmp_path):
    other = Signer(b"\x09" * 32)
    forged = Log(log.records, other).write(tmp_path / "forged")
    assert verify(forged).ok
    assert not verify(forged).summary.keys_given
    assert verify(forged, key=log.signer.public).codes() >= {"unreadable"}
    assert verify(forged, log.checkpoint(10)).codes() == {"checkpoint"}
    genuine = verify(log.write(tmp_path / "genuine"), log.checkpoint(10), key=log.signer.public)
    assert genuine.ok
    assert genuine.summary.keys_given


def test_after_a_rotation_old_and_new_keys_both_count(log, tmp_path):
    new = Signer(b"\x09" * 32)
    keys = (log.signer.public, new.public)
    folder = log.write(tmp_path / "bundle", sizes=(10, 40))
    (folder / "checkpoints" / f"{40:020d}").write_bytes(new.checkpoint(40, log.root(40)))
    (folder / "keys.txt").write_text("".join(f"{key}\n" for key in keys))
    forge(folder)
    assert verify(folder).ok
    assert verify(folder, log.checkpoint(20), key="\n".join(keys)).ok
    assert "checkpoint" in verify(folder, key=keys[1]).codes()


def test_a_checkpoint_of_another_log_is_refused(log, folder):
    signer = log.signer
    assert verify(folder, signer.checkpoint(10, log.root(10), origin="attest/other")).codes() == {"checkpoint"}
    assert verify(folder, b"nonsense").codes() == {"checkpoint"}
    (folder / "checkpoints" / f"{8:020d}").write_bytes(signer.checkpoint(9, log.root(9)))
    forge(folder)
    assert "checkpoint" in verify(folder).codes()
