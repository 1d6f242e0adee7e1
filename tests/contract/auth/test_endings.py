"""Access that ends, on each database: what is let in before and after, and the record that says so."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor, now_us
from gateway.auth.principal import Role
from gateway.ending import tables
from gateway.ending.ended import FORGOTTEN_S
from gateway.ending.endings import Move
from gateway.problems import DatabaseUnavailableError
from tests.contract.auth.endings import NOW, Rig, person


class Statements:
    """How many rows of the list were read, from now on."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.rows = 0
        sa.event.listen(engine.sync_engine, "before_cursor_execute", self._see)

    def _see(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.rows += "ended_by" in statement and statement.startswith("SELECT")


async def test_a_disabled_person_loses_everything_until_restored(rig: Rig) -> None:
    secret = await rig.sessions.open(person(), "sid", "t", None)
    assert await rig.let_in(person())
    assert await rig.endings.disable("alice", reason="scim_inactive", by="scim") == 1
    assert await rig.sessions.find(secret) is None
    assert not await rig.let_in(person())
    assert not await rig.let_in(person(issued_at=NOW + 5000)), "whatever is given out while disabled counts nothing"
    assert rig.ended.disabled("alice")
    assert await rig.let_in(person("bob"))
    rig.time.now += 10
    assert await rig.endings.restore("alice", reason="scim_active", by="scim")
    assert not await rig.endings.restore("alice", reason="scim_active", by="scim")
    assert not await rig.let_in(person()), "what was given out before stays ended"
    assert await rig.let_in(person(issued_at=NOW + 11))
    assert await rig.records() == [("person.disabled", "alice"), ("person.restored", "alice")]


async def test_a_list_that_takes_several_tries_to_read_is_read(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try ends after a page: the next one goes on, and nobody is let in before all is read."""
    monkeypatch.setattr("gateway.ending.ended._PAGE", 2)
    people = [f"p{number}" for number in range(9)]
    for name in people:
        rig.time.now += 400
        await rig.endings.disable(name, reason="administrator", by="ada")
    pages = iter(range(100))
    goes_on = asyncio.sleep

    async def cut(_seconds: float) -> None:
        if next(pages) % 2:
            raise TimeoutError
        await goes_on(0)

    monkeypatch.setattr("gateway.ending.ended.asyncio.sleep", cut)
    tries = 0
    while True:
        tries += 1
        try:
            await rig.ended.refresh()
            break
        except TimeoutError:
            with pytest.raises(DatabaseUnavailableError):
                rig.ended.standing(person())
    assert 1 < tries < len(people)
    assert all(map(rig.ended.disabled, people))


async def test_ending_sessions_leaves_the_person_free_to_sign_in_again(rig: Rig) -> None:
    first = await rig.sessions.open(person(), "", "t", None)
    second = await rig.sessions.open(person(), "", "t", None)
    other = await rig.sessions.open(person("bob"), "", "t", None)
    assert await rig.endings.end_sessions_of("alice", reason="administrator", by="ada") == 2
    assert [await rig.sessions.find(each) for each in (first, second)] == [None, None]
    assert await rig.sessions.find(other) is not None
    assert not await rig.let_in(person())
    assert await rig.let_in(person(issued_at=NOW + 1))


async def test_ending_sessions_of_a_disabled_person_does_not_restore(rig: Rig) -> None:
    await rig.endings.disable("alice", reason="administrator", by="ada")
    await rig.endings.end_sessions_of("alice", reason="backchannel_logout", by="provider")
    assert not await rig.let_in(person(issued_at=NOW + 5000))
    columns = (tables.ended.c.reason, tables.ended.c.ended_by)
    async with rig.engine.connect() as connection:
        assert (await connection.execute(sa.select(*columns))).one() == ("administrator", "ada")
    await rig.endings.restore("alice", reason="administrator", by="ada")
    await rig.endings.end_sessions_of("alice", reason="backchannel_logout", by="provider")
    async with rig.engine.connect() as connection:
        assert (await connection.execute(sa.select(*columns))).one() == ("backchannel_logout", "provider")


async def test_a_session_of_the_provider_takes_its_tokens_with_it(rig: Rig) -> None:
    secret = await rig.sessions.open(person(), "sid-1", "t", None)
    kept = await rig.sessions.open(person(), "sid-2", "t", None)
    assert await rig.endings.end_provider_session("sid-1", reason="backchannel_logout", subject="") == 1
    assert await rig.sessions.find(secret) is None
    assert await rig.sessions.find(kept) is not None
    assert not await rig.let_in(person(sid="sid-1"))
    assert await rig.let_in(person(sid="sid-2"))
    assert await rig.records() == [("session.ended", "alice")]


async def test_a_group_that_is_gone_takes_its_role_and_gives_it_back(rig: Rig) -> None:
    governor = Governor(rig.engine)
    async with governor.transaction() as connection:
        gone = Move("alice", gone=frozenset({"audit"}))
        await rig.endings.move_in(connection, [gone], reason="scim_groups", by="scim")
    await rig.ended.refresh()
    assert rig.ended.standing(person()).roles == {Role.STAFF}
    assert rig.ended.standing(person()).groups == ("/staff",)
    async with governor.transaction() as connection:
        back = Move("alice", back=frozenset({"audit"}))
        await rig.endings.move_in(connection, [back], reason="scim_groups", by="scim")
    await rig.ended.refresh()
    assert rig.ended.standing(person()).roles == {Role.STAFF, Role.COMPLIANCE}


async def test_a_list_that_cannot_be_read_lets_nobody_in(rig: Rig) -> None:
    with pytest.raises(DatabaseUnavailableError):
        rig.ended.standing(person())
    await rig.ended.refresh()
    rig.monotonic.now += 59
    assert rig.ended.standing(person()).subject == "alice"
    rig.monotonic.now += 2
    with pytest.raises(DatabaseUnavailableError):
        rig.ended.standing(person())


async def test_many_changes_are_read_once(rig: Rig) -> None:
    many = [Move(f"p{number}", gone=frozenset({"audit"})) for number in range(2500)]
    async with Governor(rig.engine).transaction() as connection:
        await rig.endings.move_in(connection, many, reason="scim_groups", by="scim")
    await rig.ended.refresh()
    assert {rig.ended.standing(person(each.subject)).groups for each in many} == {("/staff",)}
    statements = Statements(rig.engine)
    await rig.ended.refresh()
    assert statements.rows == 0
    await rig.endings.disable("p7", reason="administrator", by="ada")
    assert not await rig.let_in(person("p7"))
    assert statements.rows > 0


async def test_an_ending_is_noticed_although_the_clock_went_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.endings.disable("bob", reason="administrator", by="ada")
    assert await rig.let_in(person())
    monkeypatch.setattr("gateway.ending.endings.now_us", lambda: now_us() - 3_600_000_000)
    await rig.endings.disable("alice", reason="administrator", by="ada")
    assert not await rig.let_in(person())
    await rig.endings.restore("alice", reason="administrator", by="ada")
    assert await rig.let_in(person(issued_at=NOW + 1))


async def test_sessions_of_the_provider_that_ended_long_ago_are_forgotten(rig: Rig) -> None:
    await rig.endings.end_provider_session("old", reason="backchannel_logout", subject="")
    await rig.endings.disable("bob", reason="administrator", by="ada")
    rig.time.now += FORGOTTEN_S - 10
    await rig.endings.end_provider_session("newer", reason="backchannel_logout", subject="")
    assert not await rig.let_in(person(sid="old"))
    rig.time.now += 3700
    rig.monotonic.now += FORGOTTEN_S
    await rig.endings.end_provider_session("newest", reason="backchannel_logout", subject="")
    async with rig.engine.connect() as connection:
        left = set((await connection.execute(sa.select(tables.ended.c.value))).scalars())
    assert left == {"bob", "newer", "newest"}
    assert await rig.let_in(person(sid="old")), "nothing that names a session counts as long as that"
    assert not await rig.let_in(person(sid="newer"))
    assert not await rig.let_in(person("bob", issued_at=NOW + FORGOTTEN_S))
