"""Versions of the policy and what of them is in force. Each change and its record are one transaction."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec
from sqlalchemy import Row, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.approval import Action, Approval, Approvals
from audit.canonical import column
from audit.governing import GoverningError, Governor, UnknownError, moment, now_us
from audit.record import Entry, Kind
from gateway.policies.tables import POLICY_ACTIVATION, POLICY_VERSION
from safety.candidate import candidate
from safety.policy import PolicyError, policy_hash
from safety.policy_shape import Policy

NOTE_LIMIT = 500
"""Characters of a note."""
SHOWN = 200
"""Versions and activations that a list shows, newest first."""
_Kept = TypeVar("_Kept", "Version", "Activation")


class Origin(StrEnum):
    """Where a version came from."""

    PERSON = "person"
    FILE = "file"
    """A gateway's policy file, taken in at its start."""


class Version(msgspec.Struct, frozen=True):
    """One text of the policy. `policy_hash` is that of the policy with the classifier of when it was added."""

    version_id: str
    name: str
    number: int
    policy_hash: str
    text_hash: str
    """SHA-256 of the text in UTF-8."""
    note: str
    origin: Origin
    added_by: str
    added_us: int
    text: str = ""
    """Left out in lists."""

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.name} {self.number}"


class Activation(msgspec.Struct, frozen=True):
    """A version that two people put in force; the one with the greatest `ordinal` counts."""

    ordinal: int
    version_id: str
    text_hash: str
    requested_by: str
    granted_by: str
    at_us: int


class Wanted(msgspec.Struct, frozen=True):
    """What a request to activate asks for: the arguments of its approval."""

    version_id: str
    policy: str
    """The version's title, for people."""
    policy_hash: str
    text_hash: str
    replaces: str
    """Ordinal of the activation that was in force when it was asked; `0`: none."""


class PolicyVersions:
    """Keeps them. Raises `GoverningError` for what cannot be, `AuditUnavailableError`."""

    def __init__(self, governor: Governor, read: Callable[[str], Policy] = candidate) -> None:
        """`read` makes a policy of a text as strictly as a candidate must be. Raises `PolicyError`."""
        self._governor = governor
        self._read = read

    async def propose(self, text: str, note: str, by: str) -> Version:
        """Add a candidate; on record when this returns. Raises `PolicyError` that names everything to mend."""
        policy = await asyncio.to_thread(self._read, text)
        if len(note) > NOTE_LIMIT:
            raise GoverningError(f"A note has at most {NOTE_LIMIT} characters.")
        made = self._version(policy, text, note.replace("\x00", "\ufffd").strip(), Origin.PERSON, by)
        async with self._governor.transaction() as connection:
            if (known := await _of_text(connection, made.text_hash)) is not None:
                raise GoverningError(f"This text stands already as {known.title}, added by {known.added_by}.")
            await connection.execute(insert(POLICY_VERSION).values(**msgspec.structs.asdict(made)))
            await self._governor.record(connection, _proposed(made))
        return made

    async def keep(self, policy: Policy, text: str, by: str) -> Version:
        """Take in the text of a gateway's policy file, unless it is known, and return its version."""
        made = self._version(policy, text, "", Origin.FILE, by)
        async with self._governor.reading() as connection:
            known = await _of_text(connection, made.text_hash)
        if known is not None:
            return known
        async with self._governor.transaction() as connection:
            if (known := await _of_text(connection, made.text_hash)) is not None:
                return known
            await connection.execute(insert(POLICY_VERSION).values(**msgspec.structs.asdict(made)))
        return made

    def _version(self, policy: Policy, text: str, note: str, origin: Origin, by: str) -> Version:
        digest = hashlib.sha256(text.encode()).hexdigest()
        version_id = self._governor.new_id()
        return Version(
            *(version_id, policy.name, policy.version, policy_hash(policy), digest, note, origin, by, now_us(), text)
        )

    async def version(self, version_id: str) -> Version | None:
        """Return one version with its text."""
        query = select(POLICY_VERSION).where(POLICY_VERSION.c.version_id == column(version_id))
        async with self._governor.reading() as connection:
            row = (await connection.execute(query)).first()
        return _made(row, Version) if row is not None else None

    async def listed(self) -> tuple[Version, ...]:
        """Return the newest versions, without texts."""
        columns = [column for column in POLICY_VERSION.c if column.name != "text"]
        query = select(*columns).order_by(POLICY_VERSION.c.added_us.desc(), POLICY_VERSION.c.version_id.desc())
        async with self._governor.reading() as connection:
            return tuple(_made(row, Version) for row in await connection.execute(query.limit(SHOWN)))

    async def activations(self) -> tuple[Activation, ...]:
        """Return the newest activations; the first is in force."""
        query = select(POLICY_ACTIVATION).order_by(POLICY_ACTIVATION.c.ordinal.desc())
        async with self._governor.reading() as connection:
            return tuple(_made(row, Activation) for row in await connection.execute(query.limit(SHOWN)))

    async def in_force(self) -> Activation | None:
        """Return what two people put in force last; None: the gateways' files count."""
        async with self._governor.reading() as connection:
            return await _in_force(connection)

    async def ask(self, version_id: str, approvals: Approvals, by: str) -> Approval:
        """Ask for a second person to put a version in force; a request of one's own that waits is returned again."""
        version = await self.version(version_id)
        if version is None:
            raise UnknownError("There is no such version.")
        now = await self.in_force()
        if now is not None and now.version_id == version_id:
            raise GoverningError(f"{version.title} is in force.")
        await self.check(version)
        replaces = str(now.ordinal if now else 0)
        wanted: dict[str, str] = msgspec.to_builtins(
            Wanted(version_id, version.title, version.policy_hash, version.text_hash, replaces)
        )
        for one in await approvals.listed():
            if (one.action, one.arguments, one.requested_by) == (Action.POLICY, wanted, by):
                return one
        return await approvals.request(Action.POLICY, wanted, by)

    async def check(self, version: Version) -> None:
        """Raise `GoverningError` unless this process could judge by the version."""
        if hashlib.sha256(version.text.encode()).hexdigest() != version.text_hash:
            raise GoverningError(f"The text of {version.title} is not the one that was proposed.")
        try:
            await asyncio.to_thread(self._read, version.text)
        except PolicyError as error:
            raise GoverningError(f"{version.title} cannot be used: {error}") from None

    async def check_granting(self, approval: Approval) -> None:
        """Raise `GoverningError` when what was asked cannot be put in force; before the transaction, for it is slow."""
        version = await self.version(_wanted(approval.arguments).version_id)
        if version is None:
            raise UnknownError("There is no such version.")
        await self.check(version)

    async def activate(self, approval: Approval, connection: AsyncConnection) -> Activation:
        """Put in force what was asked and granted, in the transaction of the decision.

        Refused when another version came into force since: what two people saw was the difference to that one.
        """
        wanted = _wanted(approval.arguments)
        now = await _in_force(connection)
        if str(now.ordinal if now else 0) != wanted.replaces:
            raise GoverningError("Another policy came into force since this was asked: ask again.")
        query = select(POLICY_VERSION.c.text_hash).where(POLICY_VERSION.c.version_id == wanted.version_id)
        if (await connection.execute(query)).scalar() != wanted.text_hash:
            raise GoverningError("The text of this version is not the one that was asked for.")
        made = Activation(
            ordinal=(now.ordinal if now else 0) + 1,
            version_id=wanted.version_id,
            text_hash=wanted.text_hash,
            requested_by=approval.requested_by,
            granted_by=approval.decided_by,
            at_us=approval.decided_us or now_us(),
        )
        await connection.execute(insert(POLICY_ACTIVATION).values(**msgspec.structs.asdict(made)))
        return made


def _proposed(made: Version) -> Entry:
    return Entry(
        kind=Kind.POLICY_PROPOSED,
        at=moment(made.added_us),
        subject=made.added_by,
        policy_hash=made.policy_hash,
        detail={
            "version_id": made.version_id,
            "name": made.name,
            "version": made.number,
            "text_hash": made.text_hash,
            "note": made.note,
        },
    )


def _wanted(arguments: Mapping[str, str]) -> Wanted:
    return msgspec.convert(dict(arguments), Wanted)


async def _in_force(connection: AsyncConnection) -> Activation | None:
    last = select(func.max(POLICY_ACTIVATION.c.ordinal)).scalar_subquery()
    row = (await connection.execute(select(POLICY_ACTIVATION).where(POLICY_ACTIVATION.c.ordinal == last))).first()
    return _made(row, Activation) if row is not None else None


async def _of_text(connection: AsyncConnection, text_hash: str) -> Version | None:
    row = (await connection.execute(select(POLICY_VERSION).where(POLICY_VERSION.c.text_hash == text_hash))).first()
    return _made(row, Version) if row is not None else None


def _made(row: Row[tuple[object, ...]], kind: type[_Kept]) -> _Kept:
    values = {str(name): value for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public accessor
    return msgspec.convert(values, kind)
