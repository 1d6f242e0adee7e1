"""Versions of a model and which of them answer: one state, and each change of it as a function. Pure; no files here."""

import hashlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec.structs import replace

ROLLBACKS = 3
"""How many versions that answered before can be rolled back to."""
FORMAT = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

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
    format: int = FORMAT
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


def version_id(name: str, revision: str) -> str:
    """Return the id of a version. Raises `RegistryError` for a name that cannot stand in a path and an address."""
    if not NAME.fullmatch(name):
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
