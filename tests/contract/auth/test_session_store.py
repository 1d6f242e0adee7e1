import asyncio
import hashlib

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth import pending as module
from gateway.auth import tables
from gateway.auth.pending import PENDING_S, PENDING_SWEEP_S, SignIns, SignInUnderWay
from gateway.auth.principal import Credential, Principal, Role
from gateway.auth.roles import RoleMap
from gateway.auth.session import TOUCH_S, Sessions, SessionTimes
from migrations.run import downgrade, upgrade

ALICE = Principal(subject="alice", name="Alice", groups=("/staff",), roles=frozenset({Role.STAFF}), session=True)
TIMES = SessionTimes(idle=600, lifetime=3600)
UNDER_WAY = SignInUnderWay(nonce="n", verifier="v", return_to="/")


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def sessions(engine: AsyncEngine, time: Time) -> Sessions:
    return Sessions(engine, RoleMap("groups", {"staff": "staff"}), TIMES, time)


async def found(sessions: Sessions, secret: str) -> Principal | None:
    """Return who is found, without what differs from session to session."""
    principal = await sessions.find(secret)
    return None if principal is None else msgspec.structs.replace(principal, credential=Credential())


async def rows(engine: AsyncEngine) -> list[sa.Row[tuple[object, ...]]]:
    async with engine.connect() as connection:
        return list((await connection.execute(sa.select(tables.session))).all())


async def test_a_session_opens_for_its_id_alone(sessions: Sessions) -> None:
    secret = await sessions.open(ALICE, "sid", "id-token", None)
    assert await found(sessions, secret) == ALICE
    for wrong in ("", "x", secret[:-1], secret + "a", "A" * 43, "é" * 43, "\x00" * 43):
        assert await found(sessions, wrong) is None


async def test_the_database_holds_neither_id_nor_token(sessions: Sessions, engine: AsyncEngine) -> None:
    secret = await sessions.open(ALICE, "sid", "the-id-token", None)
    (row,) = await rows(engine)
    stored = repr(tuple(row))
    assert secret not in stored
    assert "the-id-token" not in stored
    assert row.id_hash == hashlib.sha256(secret.encode()).hexdigest()


async def test_a_sign_in_makes_a_new_id_and_ends_the_old_one(sessions: Sessions) -> None:
    first = await sessions.open(ALICE, "", "t", None)
    second = await sessions.open(ALICE, "", "t", first)
    assert first != second
    assert await found(sessions, first) is None
    assert await found(sessions, second) == ALICE


async def test_an_id_chosen_by_somebody_else_is_never_taken_over(sessions: Sessions) -> None:
    planted = "A" * 43
    secret = await sessions.open(ALICE, "", "t", planted)
    assert secret != planted
    assert await found(sessions, planted) is None


async def test_it_ends_after_idling(sessions: Sessions, time: Time) -> None:
    secret = await sessions.open(ALICE, "", "t", None)
    time.now += TIMES.idle - 1
    assert await found(sessions, secret) == ALICE
    time.now += TIMES.idle - 1
    assert await found(sessions, secret) == ALICE
    time.now += TIMES.idle
    assert await found(sessions, secret) is None


async def test_it_ends_after_its_lifetime_however_busy(sessions: Sessions, time: Time) -> None:
    secret = await sessions.open(ALICE, "", "t", None)
    for _ in range(TIMES.lifetime // 300 - 1):
        time.now += 300
        assert await found(sessions, secret) == ALICE
    time.now += 300
    assert await found(sessions, secret) is None


async def test_use_is_written_once_a_minute(sessions: Sessions, engine: AsyncEngine, time: Time) -> None:
    secret = await sessions.open(ALICE, "", "t", None)
    started = int(time.now)
    time.now += TOUCH_S - 1
    await found(sessions, secret)
    assert (await rows(engine))[0].seen_at == started
    time.now += 1
    await found(sessions, secret)
    assert (await rows(engine))[0].seen_at == started + TOUCH_S


async def test_sessions_that_are_over_are_removed(sessions: Sessions, engine: AsyncEngine, time: Time) -> None:
    for _ in range(3):
        await sessions.open(ALICE, "", "t", None)
    time.now += TIMES.idle
    await sessions.open(ALICE, "", "t", None)
    assert len(await rows(engine)) == 1


async def test_ending_gives_back_the_id_token_once(sessions: Sessions) -> None:
    secret = await sessions.open(ALICE, "", "the-id-token", None)
    ended = await sessions.end(secret)
    assert ended is not None
    assert (ended.principal.subject, ended.id_token) == ("alice", "the-id-token")
    assert await sessions.end(secret) is None
    assert await found(sessions, secret) is None
    assert await sessions.end("nonsense") is None


async def test_roles_follow_the_configuration_of_now(engine: AsyncEngine, sessions: Sessions, time: Time) -> None:
    secret = await sessions.open(ALICE, "", "t", None)
    other = Sessions(engine, RoleMap("groups", {"board": "admin"}), TIMES, time)
    as_other = await found(other, secret)
    assert as_other is not None
    assert as_other.roles == frozenset()


BROWSER, STATE = "b" * 43, "s" * 43


async def test_a_sign_in_under_way_is_used_once(engine: AsyncEngine, time: Time) -> None:
    sign_ins = SignIns(engine, time)
    await sign_ins.keep(BROWSER, STATE, UNDER_WAY)
    assert await sign_ins.take(BROWSER, STATE) == UNDER_WAY
    assert await sign_ins.take(BROWSER, STATE) is None


@pytest.mark.parametrize(("browser", "state"), [("x" * 43, STATE), (BROWSER, "x" * 43), ("", STATE), (BROWSER, "")])
async def test_another_browser_or_state_gets_nothing(engine: AsyncEngine, time: Time, browser: str, state: str) -> None:
    sign_ins = SignIns(engine, time)
    await sign_ins.keep(BROWSER, STATE, UNDER_WAY)
    assert await sign_ins.take(browser, state) is None


async def test_a_sign_in_under_way_grows_too_old(engine: AsyncEngine, time: Time) -> None:
    sign_ins = SignIns(engine, time)
    await sign_ins.keep(BROWSER, STATE, UNDER_WAY)
    time.now += PENDING_S
    assert await sign_ins.take(BROWSER, STATE) is None


async def test_a_flood_of_sign_ins_pushes_out_the_oldest(
    engine: AsyncEngine, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PENDING_LIMIT", 3)
    sign_ins = SignIns(engine, time)
    for number in range(6):
        time.now += PENDING_SWEEP_S
        await sign_ins.keep(BROWSER, str(number) * 43, UNDER_WAY)
    kept = [await sign_ins.take(BROWSER, str(number) * 43) is not None for number in range(6)]
    assert kept == [False, False, True, True, True, True]


async def test_sign_ins_never_finished_are_removed(engine: AsyncEngine, time: Time) -> None:
    sign_ins = SignIns(engine, time)
    await sign_ins.keep(BROWSER, STATE, UNDER_WAY)
    time.now += PENDING_S
    await sign_ins.keep(BROWSER, "t" * 43, UNDER_WAY)
    async with engine.connect() as connection:
        assert (await connection.execute(sa.select(sa.func.count()).select_from(tables.pending))).scalar_one() == 1


async def test_two_gateways_share_sessions_and_one_use(engine: AsyncEngine, time: Time) -> None:
    roles = RoleMap("groups", {"staff": "staff"})
    first, second = Sessions(engine, roles, TIMES, time), Sessions(engine, roles, TIMES, time)
    secret = await first.open(ALICE, "", "t", None)
    assert await found(second, secret) == ALICE
    ended = await asyncio.gather(first.end(secret), second.end(secret))
    assert sum(each is not None for each in ended) == 1
    await SignIns(engine, time).keep(BROWSER, STATE, UNDER_WAY)
    taken = await asyncio.gather(*(SignIns(engine, time).take(BROWSER, STATE) for _ in range(5)))
    assert sum(each is not None for each in taken) == 1


async def test_the_migration_makes_the_tables_that_the_code_knows(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        for table in tables.metadata.sorted_tables:
            made = await connection.run_sync(lambda c, t=table: sa.inspect(c).get_columns(t.name))
            indexes = await connection.run_sync(lambda c, t=table: sa.inspect(c).get_indexes(t.name))
            assert [(c["name"], c["nullable"]) for c in made] == [(c.name, c.nullable) for c in table.columns]
            assert {index["name"] for index in indexes} == {index.name for index in table.indexes}


def test_the_migration_goes_down_and_up_again(database: str) -> None:
    downgrade(database, "0001_audit")
    upgrade(database, "0002_sessions")
