"""The registry: a folder of model versions, and which of them answer. Plain files and no torch.

    REGISTRY/registry.json       what stands below in `State`, replaced as a whole
    REGISTRY/versions/ID/        one folder of weights for each version

Whoever changes it holds a lock; whoever reads it sees either the old state or the new one.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import msgspec
from msgspec.structs import replace

ROLLBACKS = 3
"""How many versions that answered before can be rolled back to."""
SUBFOLDER = "versions"
_FILE = "registry.json"
_FORMAT = 1
_LARGEST = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[0-9a-f]{12}")

Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]


class RegistryError(Exception):
    """The registry cannot be read, or what is asked of it makes no sense; the message says what to do."""


class Stage(StrEnum):
    """What a version is for now."""

    CANDIDATE = "candidate"
    CANARY = "canary"
    MIRROR = "mirror"
    ACTIVE = "active"
    RETIRED = "retired"


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One folder of weights, never changed once it is here."""

    id: str
    """`LABEL@` and the first twelve digits of its revision: the name by which exactly this version is asked for."""
    name: str
    """Its label."""
    revision: str
    """`sha256:…` over configuration, tokenizer and weights: what stands in every audit record."""
    precision: str
    """`float32 | float16 | bfloat16 | int8 | int4`."""
    manifest: str
    """SHA-256 over the names and hashes of all its files."""
    bytes: int
    """Size of its files together."""
    added: datetime


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that answers some of the people: a share of them, and everybody in the groups named."""

    version: str
    percent: Percent = 0
    groups: tuple[str, ...] = ()


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that answers a share of the turns a second time, for the record alone."""

    version: str
    percent: Percent = 100


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the registry holds."""

    model: str
    """The name under which people ask for whichever version is active."""
    format: int = _FORMAT
    versions: tuple[Version, ...] = ()
    active: str = ""
    canary: Canary | None = None
    mirror: Mirror | None = None
    previous: tuple[str, ...] = ()
    """Ids that were active before, newest first, at most three."""

    def find(self, text: str) -> Version:
        """Return the version with this id, or the only one whose id or revision begins so. Raises `RegistryError`."""
        exact = [one for one in self.versions if one.id == text]
        found = exact or [
            one
            for one in self.versions
            if text and (one.id.startswith(text) or one.revision.removeprefix("sha256:").startswith(text))
        ]
        if len(found) != 1:
            raise RegistryError(f"{'no version' if not found else 'more than one version'} has an id like {text!r}")
        return found[0]

    def stage(self, version: Version) -> Stage:
        """Return what a version is for now."""
        if version.id == self.active:
            return Stage.ACTIVE
        if self.canary is not None and version.id == self.canary.version:
            return Stage.CANARY
        if self.mirror is not None and version.id == self.mirror.version:
            return Stage.MIRROR
        return Stage.RETIRED if version.id in self.previous else Stage.CANDIDATE


class Registry:
    """The folder. Every method is quick; none looks into the weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def file(self) -> Path:
        """The file that says everything; a change of it is a change of the registry."""
        return self.folder / _FILE

    def folder_of(self, version: Version) -> Path:
        """Return where a version's weights are."""
        return self.folder / SUBFOLDER / version.id

    def read(self) -> State:
        """Return what the registry holds. Raises `RegistryError`."""
        try:
            if self.file.stat().st_size > _LARGEST:
                raise RegistryError(f"{self.file} is larger than {_LARGEST} bytes")
            state = msgspec.json.decode(self.file.read_bytes(), type=State)
        except FileNotFoundError:
            raise RegistryError(f"{self.folder} is no registry: add a version with `attest models add`") from None
        except OSError as error:
            raise RegistryError(f"{self.file} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RegistryError(f"{self.file} is damaged: {error}") from None
        return _checked(state, self.file)

    def place(self) -> Path:
        """Make a folder for files that are to become a version, and return it. Raises `RegistryError`."""
        fresh = self.folder / SUBFOLDER / f".adding-{uuid4().hex}"
        try:
            fresh.mkdir(mode=0o755, parents=True)
        except OSError as error:
            raise RegistryError(f"{self.folder} cannot be written: {error.strerror}") from None
        return fresh

    @contextlib.contextmanager
    def locked(self) -> Iterator[Callable[[State], None]]:
        """Hold the lock; what this yields writes a new state. Raises `RegistryError`."""
        try:
            (self.folder / SUBFOLDER).mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RegistryError(f"{self.folder} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._write
        finally:
            os.close(lock)

    def discard(self, version: Version) -> None:
        """Delete a version's folder, once the state without it is written. Raises `RegistryError`."""
        gone = self.folder / SUBFOLDER / f".removed-{uuid4().hex}"
        try:
            self.folder_of(version).rename(gone)
            shutil.rmtree(gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RegistryError(f"{self.folder_of(version)} cannot be deleted: {error.strerror}") from None

    def _write(self, state: State) -> None:
        _checked(state, self.file)
        fresh = self.folder / f".{_FILE}.new"
        with fresh.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.file)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def version_id(name: str, revision: str) -> str:
    """Return the id of a version. Raises `RegistryError` for a name that cannot stand in a path and an address."""
    if not _NAME.fullmatch(name):
        raise RegistryError(f"{name!r} is no name for a model: letters, digits, dot, hyphen, underscore, 64 at most")
    return f"{name}@{revision.removeprefix('sha256:')[:12]}"


def added(state: State, version: Version) -> State:
    """Return the state with one more version. Raises `RegistryError` when it is here already."""
    if any(one.id == version.id for one in state.versions):
        raise RegistryError(f"{version.id} is in the registry already")
    return replace(state, versions=(*state.versions, version))


def activated(state: State, wanted: str) -> State:
    """Return the state in which a version answers. Raises `RegistryError`."""
    version = state.find(wanted)
    if version.id == state.active:
        raise RegistryError(f"{version.id} is active already")
    before = (state.active, *state.previous) if state.active else state.previous
    previous = tuple(dict.fromkeys(one for one in before if one != version.id))[:ROLLBACKS]
    return _without(replace(state, active=version.id, previous=previous), version.id)


def rolled_back(state: State, wanted: str = "") -> State:
    """Return the state before the last activation, or before that of `wanted`. Raises `RegistryError`.

    What was rolled back from is no longer among those that can be rolled back to; activate it to go forward again.
    """
    if not state.previous:
        raise RegistryError("no version was active before this one")
    target = state.find(wanted).id if wanted else state.previous[0]
    if target not in state.previous:
        raise RegistryError(f"{target} is none of the last {ROLLBACKS} active versions; use `activate`")
    older = state.previous[state.previous.index(target) + 1 :]
    return _without(replace(state, active=target, previous=older), target)


def with_canary(state: State, wanted: str, percent: int, groups: tuple[str, ...]) -> State:
    """Return the state in which a version answers some of the people. Raises `RegistryError`."""
    version = _beside(state, wanted)
    if not percent and not groups:
        raise RegistryError("name a share of the people (--percent), or groups (--group)")
    if state.mirror is not None and state.mirror.version == version.id:
        raise RegistryError(f"{version.id} is the mirror; end that first")
    return replace(state, canary=Canary(version.id, percent, tuple(dict.fromkeys(groups))))


def with_mirror(state: State, wanted: str, percent: int) -> State:
    """Return the state in which a version answers a share of the turns a second time. Raises `RegistryError`."""
    version = _beside(state, wanted)
    if state.canary is not None and state.canary.version == version.id:
        raise RegistryError(f"{version.id} is the canary; end that first")
    return replace(state, mirror=Mirror(version.id, percent))


def ended(state: State, stage: Stage) -> State:
    """Return the state without its canary, or its mirror. Raises `RegistryError` where there is none."""
    if getattr(state, stage) is None:
        raise RegistryError(f"no version is the {stage}")
    return replace(state, **{stage: None})


def removed(state: State, wanted: str) -> State:
    """Return the state without a version. Raises `RegistryError` where it is in use or can be rolled back to."""
    version = state.find(wanted)
    if (stage := state.stage(version)) is not Stage.CANDIDATE:
        why = {Stage.RETIRED: "can be rolled back to", Stage.ACTIVE: "is active"}.get(stage, f"is the {stage}")
        raise RegistryError(f"{version.id} {why}: only a version that is of no use now is removed")
    return replace(state, versions=tuple(one for one in state.versions if one.id != version.id))


def manifest_hash(files: dict[str, str]) -> str:
    """Return the SHA-256 over names and hashes of files, as `sha256sum` would list them by name."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _beside(state: State, wanted: str) -> Version:
    version = state.find(wanted)
    if not state.active:
        raise RegistryError("no version is active yet; `activate` one first")
    if version.id == state.active:
        raise RegistryError(f"{version.id} is active: it answers everybody already")
    return version


def _without(state: State, active: str) -> State:
    """Leave a canary or mirror out that has become the active version."""
    canary = state.canary if state.canary and state.canary.version != active else None
    mirror = state.mirror if state.mirror and state.mirror.version != active else None
    return replace(state, canary=canary, mirror=mirror)


def _checked(state: State, file: Path) -> State:
    """Return the state if it holds together; a file written by hand must not lead anywhere else."""
    ids = [one.id for one in state.versions]
    named = [state.active] if state.active else []
    named += [part.version for part in (state.canary, state.mirror) if part is not None]
    if state.format != _FORMAT:
        raise RegistryError(f"{file} has format {state.format}; this Attest knows {_FORMAT}")
    if not _NAME.fullmatch(state.model):
        raise RegistryError(f"{file}: `model` is no name")
    if wrong := [one for one in ids if not _ID.fullmatch(one)]:
        raise RegistryError(f"{file}: {wrong[0][:100]!r} is no id of a version")
    if len(set(ids)) != len(ids):
        raise RegistryError(f"{file} names a version twice")
    if missing := [one for one in (*named, *state.previous) if one not in ids]:
        raise RegistryError(f"{file} names a version that is not in it: {missing[0][:100]!r}")
    return state
