"""Which gateway judges by which policy: each says so itself, so that people see that an activation reached them all."""

import socket
import time
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import msgspec
from sqlalchemy import ColumnElement, and_, delete, insert, or_, select, update

from audit.governing import Governor, now_us
from gateway.policies.tables import POLICY_GATEWAY

TOLD_EVERY_S = 20.0
"""How often a gateway says again what it judges by; a change it says at once."""
SILENT_S = 60.0
"""A gateway that said nothing for so long has ended, or begins no turns: without a look at the database it may not."""
FORGOTTEN_S = 86_400.0
"""When a gateway that went silent leaves the list."""
LONGEST_NAME = 255
_MILLION = 1_000_000


class Reach(StrEnum):
    """How a gateway stands to what is in force."""

    REACHED = "reached"
    """It judges by what is in force."""
    BEHIND = "behind"
    """It still judges by an earlier one."""
    DIFFERS = "differs"
    """The same version, or none was activated yet, and another hash than most: another file, release or classifier."""
    TROUBLE = "trouble"
    """It cannot judge by what is in force, and begins no turns."""
    SILENT = "silent"
    """It said nothing for a minute."""


class AtWork(msgspec.Struct, frozen=True):
    """What one gateway judges by."""

    version_id: str
    policy_hash: str
    ordinal: int
    """Of the activation; 0: the policy file."""
    trouble: str = ""
    """Why it is not what is in force: a code of `gateway.policies.in_force.Trouble`; empty: it is, or will be."""


class Gateway(msgspec.Struct, frozen=True):
    """What a gateway said last. Times are microseconds since 1970 UTC by the clock of that gateway."""

    gateway_id: str
    name: str
    """Its machine and port."""
    version_id: str
    policy_hash: str
    ordinal: int
    trouble: str
    since_us: int
    """Since when it says so."""
    seen_us: int


class GatewayStanding(msgspec.Struct, frozen=True):
    """A gateway, and how it stands."""

    gateway: Gateway
    reach: Reach


class Gateways:
    """Says what this gateway judges by, and lists what all said. Raises `SQLAlchemyError`, `OSError` when it cannot."""

    def __init__(self, governor: Governor, port: int) -> None:
        """`port` is the one that the gateway listens on: with the machine's name it is what people call it."""
        self._governor = governor
        self.gateway_id = governor.new_id()
        self._name = f"{socket.gethostname()[: LONGEST_NAME - 6]}:{port}"
        self._told: AtWork | None = None
        self._since_us = 0
        self._again = 0.0

    async def tell(self, at_work: AtWork) -> None:
        """Say what this gateway judges by, when that changed or was not said for a while."""
        if at_work == self._told and time.monotonic() < self._again:
            return
        now = now_us()
        since_us = self._since_us if at_work == self._told else now
        values = {**msgspec.structs.asdict(at_work), "name": self._name, "since_us": since_us, "seen_us": now}
        mine = POLICY_GATEWAY.c.gateway_id == self.gateway_id
        async with self._governor.engine.begin() as connection:
            if not (await connection.execute(update(POLICY_GATEWAY).where(mine).values(**values))).rowcount:
                await connection.execute(insert(POLICY_GATEWAY).values(gateway_id=self.gateway_id, **values))
            await connection.execute(delete(POLICY_GATEWAY).where(~mine, _gone(self._name, now)))
        self._told, self._since_us, self._again = at_work, since_us, time.monotonic() + TOLD_EVERY_S

    async def leave(self) -> None:
        """Leave the list: this gateway ends in good order."""
        mine = POLICY_GATEWAY.c.gateway_id == self.gateway_id
        async with self._governor.engine.begin() as connection:
            await connection.execute(delete(POLICY_GATEWAY).where(mine))


async def gateways(governor: Governor) -> tuple[Gateway, ...]:
    """Return what every gateway said last, by name. Raises `audit.ports.AuditUnavailableError`."""
    query = select(POLICY_GATEWAY).order_by(POLICY_GATEWAY.c.name, POLICY_GATEWAY.c.gateway_id)
    async with governor.reading() as connection:
        return tuple(Gateway(*row) for row in await connection.execute(query))


def standings(listed: Iterable[Gateway], ordinal: int, at_us: int) -> tuple[GatewayStanding, ...]:
    """Say how each gateway stands to the activation that counts (0: none was made). Pure."""
    listed = tuple(listed)
    speaking = [one for one in listed if one.seen_us > at_us - SILENT_S * _MILLION and not one.trouble]
    hashes = Counter(one.policy_hash for one in speaking if one.ordinal == ordinal)
    usual = hashes.most_common(1)[0][0] if hashes else ""
    return tuple(GatewayStanding(one, _reach(one, ordinal, usual, at_us)) for one in listed)


def _reach(one: Gateway, ordinal: int, usual: str, at_us: int) -> Reach:
    if one.seen_us <= at_us - SILENT_S * _MILLION:
        return Reach.SILENT
    if one.trouble:
        return Reach.TROUBLE
    if one.ordinal != ordinal:
        return Reach.BEHIND
    return Reach.REACHED if one.policy_hash == usual else Reach.DIFFERS


def _gone(name: str, at_us: int) -> ColumnElement[bool]:
    """Rows of gateways that ended without leaving: long ago, or another one stands in their place."""
    seen = POLICY_GATEWAY.c.seen_us
    place_taken = and_(POLICY_GATEWAY.c.name == name, seen < at_us - int(SILENT_S * _MILLION))
    return or_(seen < at_us - int(FORGOTTEN_S * _MILLION), place_taken)
