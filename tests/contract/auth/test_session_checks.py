"""Sessions that are checked with the provider: two gateways, an outage, a refusal; on each database."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor
from audit.tables import AUDIT_ENTRY
from gateway.auth import tables
from gateway.auth.checks import SessionChecks
from gateway.auth.oidc import Renewed, SignInError
from gateway.auth.principal import Principal, Role
from gateway.auth.roles import RoleMap
from gateway.auth.session import Sessions, SessionTimes
from gateway.ending.endings import Endings
from gateway.problems import ProviderUnavailableError

ALICE = Principal("alice", "Alice", ("/staff",), frozenset({Role.STAFF}), session=True)
ROLES = RoleMap("groups", {"staff": "staff", "audit": "compliance"})
INTERVAL = 60


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Provider:
    """Gives a new refresh token for each, and refuses one that was used."""

    def __init__(self) -> None:
        self.good = "first"
        self.says: dict[str, Any] | None = {"sub": "alice", "groups": ["/staff"]}
        self.asked = 0
        self.error: Exception | None = None

    async def renew(self, refresh_token: str, subject: str) -> Renewed:
        self.asked += 1
        await asyncio.sleep(0.05)
        if self.error:
            raise self.error
        if refresh_token != self.good:
            raise SignInError("refresh_refused")
        assert subject == "alice"
        self.good = f"token-{self.asked}"
        return Renewed(self.says, self.good)


class Rig:
    def __init__(self, engine: AsyncEngine) -> None:
        self.engine, self.time, self.provider = engine, Time(), Provider()
        self.endings = Endings(Governor(engine), self.time)
        self.gateways = [self.gateway(), self.gateway()]

    def gateway(self) -> tuple[Sessions, SessionChecks]:
        checks = SessionChecks(
            self.engine, self.provider, ROLES, self.endings,  # type: ignore[arg-type]
            key=b"k" * 32, interval_s=INTERVAL, unix_time=self.time,
        )  # fmt: skip
        return Sessions(self.engine, ROLES, SessionTimes(36_000, 36_000), self.time, checks), checks

    async def open(self) -> str:
        return await self.gateways[0][0].open(ALICE, "sid", "id", None, self.provider.good)

    async def find(self, secret: str, gateway: int = 0) -> Principal | None:
        return await self.gateways[gateway][0].find(secret)

    async def kinds(self) -> list[str]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(sa.select(AUDIT_ENTRY.c.kind))).scalars())


@pytest.fixture
def rig(engine: AsyncEngine) -> Rig:
    return Rig(engine)


async def test_many_requests_on_two_gateways_ask_once(rig: Rig) -> None:
    secret = await rig.open()
    for _ in range(3):
        rig.time.now += INTERVAL
        before = rig.provider.asked
        found = await asyncio.gather(*(rig.find(secret, number % 2) for number in range(12)))
        assert all(each is not None for each in found)
        assert rig.provider.asked == before + 1
    assert await rig.kinds() == []


async def test_half_an_interval_is_checked_without_a_wait(rig: Rig) -> None:
    secret = await rig.open()
    rig.time.now += INTERVAL // 2 - 1
    assert await rig.find(secret)
    assert rig.provider.asked == 0
    rig.time.now += 1
    assert await rig.find(secret)
    await rig.gateways[0][1].close()
    assert rig.provider.asked == 1


async def test_who_is_refused_is_out_and_on_record(rig: Rig) -> None:
    secret = await rig.open()
    rig.provider.good = "another"
    rig.time.now += INTERVAL
    assert await rig.find(secret) is None
    assert await rig.kinds() == ["session.ended"]


async def test_an_outage_is_ridden_out_for_an_interval_and_not_longer(rig: Rig) -> None:
    secret = await rig.open()
    rig.provider.error = ProviderUnavailableError()
    rig.time.now += INTERVAL - 1
    assert await rig.find(secret)
    await rig.gateways[0][1].close()
    rig.time.now += 3
    with pytest.raises(ProviderUnavailableError):
        await rig.find(secret)
    rig.provider.error = None
    rig.time.now += 3
    assert await rig.find(secret)


@pytest.mark.parametrize(("groups", "roles"), [(["/staff", "/audit"], 2), (["/other"], None)])
async def test_groups_are_taken_over(rig: Rig, groups: list[str], roles: int | None) -> None:
    secret = await rig.open()
    rig.provider.says = {"sub": "alice", "groups": groups}
    rig.time.now += INTERVAL
    found = await rig.find(secret)
    assert (len(found.roles) if found else None) == roles
    assert await rig.kinds() == (["person.moved"] if roles else ["session.ended"])


async def test_who_is_in_no_group_any_more_is_out_though_the_provider_leaves_the_claim_out(rig: Rig) -> None:
    secret = await rig.open()
    rig.provider.says = {"sub": "alice"}
    rig.time.now += INTERVAL
    assert await rig.find(secret) is None
    assert await rig.kinds() == ["session.ended"]


async def test_silence_about_the_person_takes_nothing_away(rig: Rig) -> None:
    secret = await rig.open()
    rig.provider.says = {}
    for _ in range(3):
        rig.time.now += INTERVAL
        found = await rig.find(secret)
        assert found is not None
        assert found.roles == {Role.STAFF}
    assert await rig.kinds() == []


async def test_who_could_not_be_heard_about_is_asked_again_with_the_new_token(rig: Rig) -> None:
    secret = await rig.open()
    rig.provider.says = None
    for _ in range(3):
        rig.time.now += INTERVAL
        with pytest.raises(ProviderUnavailableError):
            await rig.find(secret, rig.provider.asked % 2)
    rig.provider.says = {"sub": "alice", "groups": ["/staff"]}
    rig.time.now += 3
    assert await rig.find(secret)
    assert await rig.kinds() == []


async def test_nobody_asks_with_a_token_that_another_gateway_used_meanwhile(rig: Rig) -> None:
    secret = await rig.open()
    rig.time.now += INTERVAL
    async with rig.engine.connect() as connection:
        early = (await connection.execute(sa.select(tables.session))).one()
    rig.provider.says = None
    with pytest.raises(ProviderUnavailableError):
        await rig.find(secret)
    rig.time.now += 3
    rig.provider.says = {"sub": "alice", "groups": ["/staff"]}
    with pytest.raises(ProviderUnavailableError):
        await rig.gateways[1][1].checked(early)
    assert rig.provider.asked == 1
    assert await rig.find(secret, 1)


async def test_the_database_holds_no_refresh_token(rig: Rig) -> None:
    await rig.open()
    async with rig.engine.connect() as connection:
        (row,) = (await connection.execute(sa.select(tables.session))).all()
    assert b"first" not in row.sealed_refresh_token
    assert "first" not in repr(tuple(row))


async def test_a_session_without_one_ends_with_its_access_token(rig: Rig) -> None:
    sessions, _ = rig.gateways[0]
    secret = await sessions.open(ALICE, "", "id", None, lives_s=300)
    rig.time.now += 299
    assert await rig.find(secret)
    rig.time.now += 1
    assert await rig.find(secret) is None
