"""Streams that run while access ends, on each database."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.auth.principal import Credential, Principal, Role
from gateway.ending.watch import AccessWatch
from gateway.problems import AccessEndedError, ProviderUnavailableError
from tests.contract.auth.endings import NOW, ROLES, Rig, person


class Found:
    """Credentials as one test wants them found."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}
        self.error: Exception | None = None

    async def standing(self, ids: Any) -> dict[str, Principal]:
        if self.error:
            raise self.error
        return {each: self.principals[each] for each in ids if each in self.principals}


async def test_streams_end_with_their_session_their_role_or_their_person(rig: Rig) -> None:
    found, alice = Found(), person()
    watch = AccessWatch(rig.ended, {"session": found})
    await rig.ended.refresh()
    found.principals["x"] = alice
    with watch.over(alice) as watched:
        await watch.look()
        watched.check()
        found.error = sa.exc.OperationalError("x", {}, Exception())
        await watch.look()
        watched.check()
        found.error = None
        found.principals["x"] = Principal("alice", "Alice", ("/staff",), frozenset({Role.STAFF}), session=True)
        await watch.look()
        with pytest.raises(AccessEndedError):
            watched.check()
    for ends in ("gone", "unknown", "disabled"):
        found.principals, found.error = {"x": alice}, None
        with watch.over(alice) as watched:
            if ends == "gone":
                found.principals = {}
            elif ends == "unknown":
                found.error = ProviderUnavailableError()
            else:
                await rig.endings.disable("alice", reason="administrator", by="ada")
                await rig.ended.refresh()
            await watch.look()
            with pytest.raises(AccessEndedError):
                watched.check()
    with pytest.raises(AccessEndedError), watch.over(alice):
        pass


class Unanswered(Found):
    """Sessions whose provider does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    async def standing(self, ids: Any) -> dict[str, Principal]:
        self.asked |= set(ids)
        await asyncio.sleep(3600)
        return {}


def with_key(subject: str) -> Principal:
    groups = ("/staff",)
    return Principal(subject, subject, groups, ROLES.roles(groups), credential=Credential("key", subject, NOW + 100))


async def test_a_silent_provider_holds_up_neither_the_lists_nor_streams_that_need_no_provider(rig: Rig) -> None:
    sessions, keys = Unanswered(), Found()
    watch = AccessWatch(rig.ended, {"session": sessions, "key": keys})
    await rig.ended.refresh()
    people = [person(f"p{number}") for number in range(4)]
    people = [msgspec.structs.replace(each, credential=Credential("session", each.subject, NOW)) for each in people]
    keys.principals = {"good": with_key("good"), "bad": with_key("bad")}
    with contextlib.ExitStack() as open_streams:
        streams = [open_streams.enter_context(watch.over(each)) for each in people]
        good, bad = (open_streams.enter_context(watch.over(with_key(each))) for each in ("good", "bad"))
        running = asyncio.create_task(watch.run())
        async with asyncio.timeout(10):
            while sessions.asked != {"p0", "p1", "p2", "p3"}:  # noqa: ASYNC110 - at the same time, told by a set
                await asyncio.sleep(0.01)
        await rig.endings.disable("p0", reason="administrator", by="ada")
        del keys.principals["bad"]
        async with asyncio.timeout(10):
            while not (bad.ended and streams[0].ended):  # noqa: ASYNC110 - as a stream looks
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        assert [each.ended for each in (good, bad, *streams)] == [False, True, True, False, False, False]
