import base64
import stat
import threading

import pytest
from cryptography.exceptions import InvalidTag

from audit.keys import FileMasterKey, KeyFileError, SubjectKey, decrypt, encrypt
from audit.ring import KeyRing

MASTER = FileMasterKey(b"m" * 32)


def test_the_key_file_is_made_once_and_for_the_owner_alone(tmp_path):
    path = tmp_path / "new" / "master.key"
    first = FileMasterKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FileMasterKey.load_or_create(path).identity == first.identity
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_at_once_get_one_key(tmp_path):
    path = tmp_path / "master.key"
    gate, seen = threading.Barrier(8), []

    def start():
        gate.wait()
        seen.append(FileMasterKey.load_or_create(path).identity)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "master.key"
    FileMasterKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        FileMasterKey.load(path)


@pytest.mark.parametrize("held", [b"", b"not base64!", base64.b64encode(b"short")])
def test_a_damaged_key_file_is_refused_and_kept(tmp_path, held):
    path = tmp_path / "master.key"
    path.write_bytes(held)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        FileMasterKey.load_or_create(path)
    assert path.read_bytes() == held


def test_a_missing_key_is_not_made_by_load(tmp_path):
    with pytest.raises(KeyFileError, match="No such file"):
        FileMasterKey.load(tmp_path / "master.key")


def test_another_master_key_does_not_open_what_this_one_wrapped():
    row = KeyRing(MASTER).new_row("alice")
    assert KeyRing(MASTER).open(row[0], row[1], row[2]).key_id == row[0]
    with pytest.raises(KeyFileError, match="not the one"):
        KeyRing(FileMasterKey(b"o" * 32)).open(row[0], row[1], row[2])
    with pytest.raises(KeyFileError):
        KeyRing(MASTER).open(row[0], "bob", row[2])  # a key put under somebody else's name


def test_the_ring_is_bounded():
    ring = KeyRing(MASTER, size=2)
    for subject in ("a", "b", "c"):
        row = ring.new_row(subject)
        ring.open(row[0], row[1], row[2])
    assert ring.cached("a") is None
    assert ring.cached("c") is not None


def test_what_is_sealed_opens_only_in_its_place():
    key = SubjectKey("k", b"s" * 32)
    record_key, wrapped = key.new_record_key(b"entry-1")
    sealed = encrypt(record_key, b"text", b"entry-1\x00message")
    assert decrypt(key.record_key(wrapped, b"entry-1"), sealed, b"entry-1\x00message") == b"text"
    with pytest.raises(InvalidTag):
        key.record_key(wrapped, b"entry-2")
    with pytest.raises(InvalidTag):
        decrypt(record_key, sealed, b"entry-1\x00withheld")
    for at in range(len(sealed)):
        with pytest.raises(InvalidTag):
            decrypt(record_key, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], b"entry-1\x00message")


def test_text_ids_tell_nothing_without_the_key():
    one, other = SubjectKey("k", b"s" * 32), SubjectKey("k", b"t" * 32)
    assert one.text_id("user", b"hi") == one.text_id("user", b"hi")
    assert one.text_id("user", b"hi") != other.text_id("user", b"hi")
    assert one.text_id("user", b"hi") != one.text_id("assistant", b"hi")
    assert len(one.text_id("user", b"hi")) == 43


def test_keys_do_not_show_in_their_repr():
    assert "ssss" not in repr(SubjectKey("k", b"s" * 32))
