"""Whom the page of people lists, on each database: by name, since when and by what, whoever ended it."""

import time

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor
from audit.record import Kind
from audit.search.names import PersonNames
from gateway.auth.principal import Credential, Principal
from gateway.auth.roles import RoleMap
from gateway.auth.session import Sessions, SessionTimes
from gateway.ending import people
from gateway.ending.endings import Endings
from gateway.ending.people import LATELY_DAYS, Found, People, State
from tests.contract.audit.turns import entry

ROLES = RoleMap("groups", {"staff": "staff"})


class Rig:
    """One gateway, and the page's list."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.governor = Governor(engine)
        self.endings = Endings(self.governor)
        self.sessions = Sessions(engine, ROLES, SessionTimes(3600, 36_000))
        self.people = People(engine, PersonNames(engine))

    async def sign_in(self, subject: str, name: str, sid: str = "") -> None:
        credential = Credential("session", "x", int(time.time()), sid)
        principal = Principal(subject, name, ("/staff",), ROLES.roles(("/staff",)), session=True, credential=credential)
        await self.sessions.open(principal, sid, "t", None)

    async def append(self, *entries) -> None:
        async with self.governor.transaction() as connection:
            await self.governor.record(connection, *entries)


@pytest.fixture
def rig(engine: AsyncEngine) -> Rig:
    return Rig(engine)


def listed(found: Found) -> list[tuple[str, str, State, str, str]]:
    return [(one.subject, one.name, one.state, one.reason, one.ended_by) for one in found.people]


async def test_whoever_ended_access_the_person_is_listed_by_name(rig: Rig) -> None:
    for subject, name in (("u-1", "Edgar"), ("u-2", "Hanna"), ("u-3", "李梅"), ("u-4", "Ida")):
        await rig.sign_in(subject, name, f"sid-{subject}")
    before = time.time_ns() // 1000
    await rig.endings.end_provider_session("sid-u-1", reason="backchannel_logout", subject="")
    await rig.endings.end_sessions_of("u-2", reason="provider_refresh_refused", by="provider")
    await rig.endings.disable("u-3", reason="scim_inactive", by="scim")
    found = await rig.people.found()
    assert listed(found) == [
        ("u-3", "李梅", State.DISABLED, "scim_inactive", "scim"),
        ("u-2", "Hanna", State.SESSIONS_ENDED, "provider_refresh_refused", "provider"),
        ("u-1", "Edgar", State.SESSIONS_ENDED, "backchannel_logout", "provider"),
        ("u-4", "Ida", State.SIGNED_IN, "", ""),
    ]
    assert [one.sessions for one in found.people] == [0, 0, 0, 1]
    assert all(before <= one.since_us <= time.time_ns() // 1000 for one in found.people[:3])
    assert not found.more
    for words in ("李梅", "edg", "u-2", "IDA"):
        assert len((await rig.people.found(words)).people) == 1, words
    assert (await rig.people.found("nobody")).people == ()


async def test_the_name_of_a_disabled_person_is_that_of_earlier_records(rig: Rig) -> None:
    await rig.append(entry(Kind.LOGIN, "", "u-5", name="Jonas"))
    await rig.endings.disable("u-5", reason="administrator", by="ada")
    await rig.endings.disable("u-6", reason="administrator", by="ada")
    assert [one[:2] for one in listed(await rig.people.found())] == [("u-6", ""), ("u-5", "Jonas")]
    assert [one[0] for one in listed(await rig.people.found("jonas"))] == ["u-5"]


async def test_who_signed_in_again_or_lost_access_is_listed_once(rig: Rig) -> None:
    for subject in ("back", "out"):
        await rig.sign_in(subject, subject.title())
        await rig.endings.end_sessions_of(subject, reason="provider_refresh_refused", by="provider")
    await rig.sign_in("back", "Back")
    await rig.endings.disable("out", reason="scim_deleted", by="scim")
    assert [one[:3] for one in listed(await rig.people.found())] == [
        ("out", "Out", State.DISABLED),
        ("back", "Back", State.SIGNED_IN),
    ]


async def test_a_call_of_the_provider_that_ended_nothing_lists_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls after a person's own sign-out, too."""
    monkeypatch.setattr(people, "_AT_ONCE", 2)
    await rig.endings.end_provider_session("sid", reason="backchannel_logout", subject="u-7")
    assert (await rig.people.found()).people == ()
    await rig.sign_in("u-8", "Kim")
    await rig.endings.end_sessions_of("u-8", reason="provider_refresh_refused", by="provider")
    for at in range(5):
        await rig.endings.end_provider_session(f"sid-{at}", reason="backchannel_logout", subject="u-8")
    assert [one[:2] for one in listed(await rig.people.found())] == [("u-8", "Kim")]


async def test_what_ended_long_ago_is_not_listed(rig: Rig) -> None:
    await rig.sign_in("u-8", "Kim")
    await rig.endings.end_sessions_of("u-8", reason="administrator", by="ada")
    later = time.time() + (LATELY_DAYS + 1) * 86_400
    assert len((await rig.people.found()).people) == 1
    assert (await People(rig.engine, PersonNames(rig.engine), lambda: later).found()).people == ()


async def test_many_without_access_do_not_hide_who_is_signed_in(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MOST_WITHOUT", 2)
    for at in range(4):
        await rig.endings.disable(f"gone-{at}", reason="scim_deleted", by="scim")
    await rig.sign_in("here", "Here")
    found = await rig.people.found()
    assert [one.subject for one in found.people] == ["gone-3", "gone-2", "here"]
    assert found.more
    assert [one.subject for one in (await rig.people.found("gone-0")).people] == ["gone-0"]
