"""The registry of versions: what may follow what, and what a file written by somebody else may not do."""

import json
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import versions
from inference.registry import Registry
from inference.versions import RegistryError, Stage, State, Version, version_id


def version(digit: str, name: str = "glm") -> Version:
    revision = f"sha256:{digit * 64}"
    return Version(
        id=version_id(name, revision), name=name, revision=revision, precision="bfloat16", manifest="0" * 64, bytes=1,
        added=versions.now(),
    )  # fmt: skip


ALL = tuple(version(digit) for digit in "abcdef")
A, B, C, D, E, F = (one.id for one in ALL)


def state(*active: str) -> State:
    found = State(model="glm", versions=ALL)
    for one in active:
        found = versions.activated(found, one)
    return found


def test_the_last_three_can_be_rolled_back_to():
    now = state(A, B, C, D, E)
    assert (now.active, now.previous) == (E, (D, C, B))
    back = versions.rolled_back(now)
    assert (back.active, back.previous) == (D, (C, B))
    assert versions.rolled_back(back, "bbbb").active == B
    assert versions.rolled_back(now, C).previous == (B,)
    with pytest.raises(RegistryError, match="none of the last 3"):
        versions.rolled_back(now, A)
    with pytest.raises(RegistryError, match="no version was active"):
        versions.rolled_back(state(A))


def test_stages():
    now = versions.with_mirror(versions.with_canary(state(A, B), C, 10, ("pilots",)), D, 50)
    stages = {one.id: now.stage(one) for one in ALL}
    assert stages == {
        A: Stage.RETIRED, B: Stage.ACTIVE, C: Stage.CANARY, D: Stage.MIRROR, E: Stage.CANDIDATE, F: Stage.CANDIDATE,
    }  # fmt: skip
    assert versions.activated(now, C).canary is None
    assert versions.activated(now, C).mirror is not None
    assert versions.activated(now, D).mirror is None


def test_only_what_is_of_no_use_is_removed(tmp_path):
    now = versions.with_mirror(versions.with_canary(state(A, B), C, 10, ()), D, 50)
    for one, said in ((A, "rolled back"), (B, "active"), (C, "canary"), (D, "mirror"), ("nobody", "no version")):
        with pytest.raises(RegistryError, match=said):
            versions.removed(now, one)
    registry = Registry(tmp_path)
    with registry.locked() as write:
        folder = registry.folder_of(now.find(E))
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        left = versions.removed(now, E)
        write(left)
        registry.discard(now.find(E))
        registry.discard(now.find(E))
    assert registry.read() == left
    assert E not in [one.id for one in left.versions]
    assert list((tmp_path / "versions").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda now: versions.activated(now, B), "active already"),
        (lambda now: versions.activated(now, "nothing"), "no version"),
        (lambda now: versions.activated(now, "glm"), "more than one"),
        (lambda now: versions.activated(now, ""), "no version"),
        (lambda now: versions.with_canary(now, B, 5, ()), "is active"),
        (lambda now: versions.with_canary(now, C, 0, ()), "name a share"),
        (lambda now: versions.ended(now, Stage.CANARY), "no version is the canary"),
        (lambda now: versions.ended(now, Stage.MIRROR), "no version is the mirror"),
        (lambda now: versions.with_canary(versions.with_mirror(now, C, 5), C, 5, ()), "is the mirror"),
        (lambda now: versions.with_mirror(versions.with_canary(now, C, 5, ()), C, 5), "is the canary"),
        (lambda now: versions.added(now, ALL[0]), "already"),
        (lambda _: versions.with_mirror(state(), C, 5), "no version is active"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(RegistryError, match=said):
        change(state(A, B))


@given(st.lists(st.sampled_from([A, B, C, D, E, F]), max_size=12))
def test_whatever_is_activated_the_state_holds_together(order):
    now = State(model="glm", versions=ALL)
    for one in order:
        if one != now.active:
            now = versions.activated(now, one)
        assert now.active == one
        assert now.active not in now.previous
        assert len(now.previous) == len(set(now.previous)) <= versions.ROLLBACKS


def test_what_is_written_is_read(tmp_path):
    registry = Registry(tmp_path / "registry")
    with pytest.raises(RegistryError, match="no registry"):
        registry.read()
    wanted = versions.with_canary(state(A, B), C, 10, ("a", "b"))
    with registry.locked() as write:
        write(wanted)
    assert registry.read() == wanted


def test_changes_wait_for_each_other(tmp_path):
    registry = Registry(tmp_path)
    with registry.locked() as write:
        write(State(model="glm"))

    def add(one: Version) -> None:
        with registry.locked() as write:
            write(versions.added(registry.read(), one))

    threads = [threading.Thread(target=add, args=(one,)) for one in ALL]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.id for one in registry.read().versions} == {one.id for one in ALL}


@pytest.mark.parametrize(
    "change",
    [
        {"active": "glm@ffffffffffff0"},
        {"active": "../../etc"},
        {"model": "../x"},
        {"format": 2},
        {"extra": 1},
        {"previous": ["glm@000000000000"]},
        {"canary": {"version": A, "percent": 101}},
        {"versions": 5},
        {"versions": [msgspec.to_builtins(ALL[0]), msgspec.to_builtins(ALL[0])]},
        {"versions": [msgspec.to_builtins(ALL[0]) | {"id": "../../outside@aaaaaaaaaaaa"}]},
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(tmp_path, change):
    registry = Registry(tmp_path)
    registry.file.write_text(json.dumps(msgspec.to_builtins(state(A)) | change))
    with pytest.raises(RegistryError):
        registry.read()


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[" * 100_000, b"{}", b" " * (1 << 20) + b"{}"])
def test_a_damaged_file_is_refused(tmp_path, raw):
    registry = Registry(tmp_path)
    registry.file.write_bytes(raw)
    with pytest.raises(RegistryError, match=r"registry\.json"):
        registry.read()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a" * 65, ".hidden", "a b", "模型", "a@b"])
def test_a_name_that_cannot_stand_in_a_path_is_refused(name):
    with pytest.raises(RegistryError):
        version_id(name, "sha256:" + "0" * 64)
