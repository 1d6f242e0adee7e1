import stat
import threading

import pytest

from audit.note import Ed25519Signer
from audit.signing import SigningKeyError, SigningKeys

GIVEN = Ed25519Signer("given.example/log", b"g" * 32)


def test_keys_are_made_at_the_first_start_and_kept(tmp_path):
    keys = SigningKeys(tmp_path / "new" / "signing")
    first = keys.load_or_create()
    assert stat.S_IMODE((keys.folder / "current.key").stat().st_mode) == 0o600
    assert first.origin.startswith("attest/")
    assert [one.public.name for one in first.signing] == [first.origin]
    again = SigningKeys(keys.folder).load()
    assert (again.origin, again.known) == (first.origin, first.known)
    assert [str(path.relative_to(keys.folder)) for path in sorted(keys.folder.rglob("*")) if path.is_file()] == [
        *("current.key", "origin", f"public/{first.known[0].key_id.hex()}.vkey"),
    ]


def test_an_origin_may_be_given(tmp_path):
    signers = SigningKeys(tmp_path, "log.example/one").load_or_create()
    assert (signers.origin, signers.signing[0].public.name) == ("log.example/one", "log.example/one")
    with pytest.raises(SigningKeyError, match="spaces"):
        SigningKeys(tmp_path / "other", "not one").load_or_create()


def test_processes_that_start_at_once_get_one_key(tmp_path):
    gate, seen = threading.Barrier(8), []

    def start():
        gate.wait()
        seen.append(SigningKeys(tmp_path / "signing").load_or_create().known)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_a_change_of_keys_signs_once_with_both_and_keeps_the_old_public_key(tmp_path):
    keys = SigningKeys(tmp_path)
    first = keys.load_or_create().signing[0].public
    old, new = keys.rotate()
    assert old == first != new
    signers = keys.load()
    assert [one.public for one in signers.signing] == [new, old]
    with pytest.raises(SigningKeyError, match="waits"):
        keys.rotate()
    keys.signed("note", signers)
    after = keys.load()
    assert [one.public for one in after.signing] == [new]
    assert set(after.known) == {old, new}
    assert keys.last_signed() == "note"
    third = keys.rotate()[1]
    assert set(keys.load().known) == {old, new, third}


def test_a_key_that_was_made_ready_signs_nothing_until_it_is_put_to_work(tmp_path):
    keys = SigningKeys(tmp_path)
    keys.load_or_create()
    old, new = keys.prepare()
    assert old != new
    assert ([one.public for one in keys.load().signing], keys.load().known) == ([old], (old,))
    assert (tmp_path / "next.key").stat().st_mode & 0o777 == 0o600
    assert keys.prepare() == keys.rotate() == (old, new), "one that was made before is taken again"
    assert not (tmp_path / "next.key").exists()
    signers = keys.load()
    assert [one.public for one in signers.signing] == [new, old]
    keys.signed("note", signers)
    (tmp_path / "next.key").write_bytes((tmp_path / "current.key").read_bytes())  # as if killed before it was removed
    (tmp_path / "next.key").chmod(0o600)
    assert keys.prepare()[1] != new


def test_a_change_that_was_killed_in_the_midst_goes_on(tmp_path):
    keys = SigningKeys(tmp_path)
    keys.load_or_create()
    (tmp_path / "previous.key").write_bytes((tmp_path / "current.key").read_bytes())
    (tmp_path / "previous.key").chmod(0o600)
    assert len(keys.load().signing) == 1
    old, new = keys.rotate()
    assert [one.public for one in keys.load().signing] == [new, old]


def test_a_key_from_the_environment_is_not_written_down(tmp_path):
    keys = SigningKeys(tmp_path, given=GIVEN.secret())
    signers = keys.load_or_create()
    assert (signers.origin, signers.known) == ("given.example/log", (GIVEN.public,))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{GIVEN.public.key_id.hex()}.vkey"]
    with pytest.raises(SigningKeyError, match="ATTEST_SIGNING_KEY"):
        keys.rotate()
    with pytest.raises(SigningKeyError) as error:
        SigningKeys(tmp_path, given=GIVEN.secret()[:-3]).load()
    assert GIVEN.secret()[40:60] not in str(error.value)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    keys = SigningKeys(tmp_path)
    keys.load_or_create()
    (tmp_path / "current.key").chmod(mode)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        keys.load_or_create()


def test_a_lost_key_is_not_made_anew_in_silence(tmp_path):
    keys = SigningKeys(tmp_path)
    keys.load_or_create()
    (tmp_path / "current.key").unlink()
    with pytest.raises(SigningKeyError, match="put it back"):
        keys.load_or_create()
    with pytest.raises(SigningKeyError, match="No such file"):
        keys.load()
    assert not (tmp_path / "current.key").exists()


@pytest.mark.parametrize(("name", "held"), [("current.key", b"junk"), ("current.key", b"\xff"), ("origin", b"a b\n")])
def test_a_damaged_folder_is_one_clear_error(tmp_path, name, held):
    keys = SigningKeys(tmp_path)
    keys.load_or_create()
    (tmp_path / name).write_bytes(held)
    with pytest.raises(SigningKeyError, match="cannot be used"):
        keys.load()
