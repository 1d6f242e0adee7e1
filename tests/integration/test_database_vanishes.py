"""The database's host is gone without a word: connections that are open hear nothing, new ones reach who took over."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth.principal import Credential, Principal
from gateway.auth.roles import RoleMap
from gateway.database import NotReachedError, make_engine, unreachable
from gateway.ending.ended import EndedAccess
from gateway.ending.watch import AccessWatch
from gateway.problems import DatabaseUnavailableError
from tests.rig.ports import free_port
from tests.rig.silent_proxy import SilentProxy


@pytest.fixture
async def proxy(postgresql: str) -> AsyncIterator[SilentProxy]:
    async with SilentProxy(make_url(postgresql).port or 5432) as proxy:
        yield proxy


def through(postgresql: str, proxy: SilentProxy) -> str:
    return make_url(postgresql).set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)


async def ask(engine: AsyncEngine, statement: str = "SELECT 1") -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement))


async def test_connections_that_rest_are_given_up_together_and_new_ones_work(
    postgresql: str, proxy: SilentProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.database.LOOK_S", 1.0)
    engine = make_engine(through(postgresql, proxy))
    await asyncio.gather(*(ask(engine, "SELECT pg_sleep(0.2)") for _ in range(6)))
    proxy.silence()
    began = time.monotonic()
    async with asyncio.timeout(30):
        await ask(engine)
        first = time.monotonic() - began
        await asyncio.gather(*(ask(engine) for _ in range(6)))
    assert 1 <= first < 5
    assert time.monotonic() - began < 10
    await engine.dispose()


async def test_a_statement_that_is_never_answered_ends_and_keeps_no_place_in_the_pool(
    postgresql: str, proxy: SilentProxy
):
    engine = make_engine(through(postgresql, proxy), command_s=1.0, pool_size=1, max_overflow=0)
    async with asyncio.timeout(30):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            proxy.silence()
            with pytest.raises(OperationalError) as failure:
                await connection.execute(text("SELECT 2"))
        assert unreachable(failure.value)
        await ask(engine)
    await engine.dispose()


async def test_the_watch_goes_on_and_says_meanwhile_what_is_wrong(
    postgresql: str, proxy: SilentProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.database.LOOK_S", 60.0)
    monkeypatch.setattr("gateway.ending.watch.READ_S", 1.0)
    engine = make_engine(through(postgresql, proxy))
    ended = EndedAccess(engine, RoleMap("groups", {}), 5.0)
    watch, person = (
        AccessWatch(ended, {}),
        Principal("alice", "Alice", (), frozenset(), credential=Credential("token", "t", 2**40)),
    )
    await watch.refresh()
    assert ended.standing(person).subject == "alice"
    proxy.silence()
    async with asyncio.timeout(30):
        await watch.refresh()
        await asyncio.sleep(5)
        with pytest.raises(DatabaseUnavailableError, match="database"):
            ended.standing(person)
        await watch.refresh()
        ended.standing(person)
    await engine.dispose()


async def test_a_value_that_no_column_takes_is_a_fault_of_ours(postgresql: str):
    engine = make_engine(postgresql)
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError) as failure:
            await connection.execute(text("SELECT CAST(:number AS bigint)"), {"number": 2**70})
        await connection.rollback()
        with pytest.raises(DBAPIError) as other:
            await connection.execute(text("SELECT CAST(:number AS bigint)"), {"number": "x"})
    await engine.dispose()
    assert not unreachable(failure.value)
    assert not unreachable(other.value)


async def test_a_server_that_is_not_there_is_not_reached():
    engine = make_engine(f"postgresql+asyncpg://attest@127.0.0.1:{free_port()}/attest")
    with pytest.raises(NotReachedError) as failure:
        await ask(engine)
    assert isinstance(failure.value.__cause__, ConnectionRefusedError)
    assert unreachable(failure.value)
