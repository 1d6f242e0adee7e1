"""What the directory's changes of people do to access, on each database."""

from typing import Any

import pytest

from audit.search.names import PersonNames
from gateway.auth.principal import Principal, Role
from gateway.ending.people import People, State
from tests.contract.scim.conftest import GROUP, USER, Scim


async def test_an_inactive_user_has_no_access_until_active_again(scim: Scim) -> None:
    alice = await scim.user("alice")
    secret = await scim.sessions.open(Principal("alice", "A", ("staff",), frozenset({Role.STAFF})), "", "t", None)
    assert await scim.standing("alice", "staff") == {Role.STAFF}
    await scim.patch(f"/Users/{alice['id']}", {"op": "Replace", "path": "active", "value": "False"})
    assert await scim.sessions.find(secret) is None
    assert await scim.standing("alice", "staff") is None
    await scim.patch(f"/Users/{alice['id']}", {"op": "replace", "value": {"active": True}})
    await scim.ended.refresh()
    assert not scim.ended.disabled("alice")
    changed = ("directory.changed", "alice")
    ends = [("person.disabled", "alice"), changed, ("person.restored", "alice"), changed]
    assert await scim.records() == [changed, *ends]


async def test_a_user_who_leaves_the_directory_has_no_access_and_comes_back_as_a_new_one(scim: Scim) -> None:
    alice = await scim.user("alice")
    await scim.send("DELETE", f"/Users/{alice['id']}", status=204)
    assert await scim.standing("alice", "staff") is None
    await scim.send("GET", f"/Users/{alice['id']}", status=404)
    await scim.user("alice")
    await scim.ended.refresh()
    assert not scim.ended.disabled("alice")


async def test_a_person_who_never_signed_in_is_on_record_by_the_directorys_name(scim: Scim) -> None:
    names = ({"displayName": "Alice Chen", "name": {"formatted": "A. C."}}, {"name": {"formatted": "Bo Li"}}, {})
    for at, name in enumerate(names):
        user = await scim.user(f"new-{at}", **name)
        await scim.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": False})
    found = (await People(scim.engine, PersonNames(scim.engine)).found("new-")).people
    assert [(one.subject, one.name) for one in found] == [
        ("new-2", "new-2"), ("new-1", "Bo Li"), ("new-0", "Alice Chen"),
    ]  # fmt: skip
    assert {(one.state, one.reason, one.ended_by) for one in found} == {(State.DISABLED, "scim_inactive", "scim")}


async def test_whom_an_administrator_shut_out_the_directory_does_not_let_in(scim: Scim) -> None:
    alice = await scim.user("alice")
    await scim.endings.disable("alice", reason="administrator", by="ada")
    for active in (False, True):
        await scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": active})
    await scim.send("DELETE", f"/Users/{alice['id']}", status=204)
    await scim.user("alice")
    assert await scim.standing("alice", "staff") is None


@pytest.mark.parametrize("subject", ["externalId", "userName"])
async def test_whom_the_directory_has_inactive_does_not_come_in_as_an_administrator_lifts_the_block(
    make_scim: Any, subject: str
) -> None:
    scim = await make_scim(scim_subject=subject)
    alice = await scim.user("alice")
    off = {"op": "replace", "path": "active", "value": False}
    await scim.endings.disable("alice", reason="administrator", by="ada")
    await scim.patch(f"/Users/{alice['id']}", off)
    assert not await scim.directory.lift("alice", reason="administrator", by="ada")
    assert await scim.standing("alice", "staff") is None
    (one,) = (await People(scim.engine, PersonNames(scim.engine)).found("alice")).people
    assert (one.state, one.reason, one.ended_by) == (State.DISABLED, "scim_inactive", "scim")
    assert await scim.directory.lift("alice", reason="administrator", by="ada"), "what the directory ended"
    await scim.ended.refresh()
    assert not scim.ended.disabled("alice")
    await scim.patch(f"/Users/{alice['id']}", off)
    assert await scim.standing("alice", "staff") is None, "the directory says it once more"
    await scim.patch(f"/Users/{alice['id']}", off | {"value": True})
    await scim.endings.disable("alice", reason="administrator", by="ada")
    assert await scim.directory.lift("alice", reason="administrator", by="ada"), "active, and so let in"
    changed, disabled, restored = "directory.changed", "person.disabled", "person.restored"
    kinds = [changed, disabled, changed, restored, disabled, restored, disabled, restored, changed, disabled, restored]
    assert [kind for kind, _ in await scim.records()] == kinds


async def test_a_put_without_external_id_is_about_the_same_person(scim: Scim) -> None:
    alice = await scim.user("00u1", userName="alice@corp")
    audit = await scim.group("audit", alice)
    path, body = f"/Users/{alice['id']}", {"schemas": [USER], "userName": "alice@corp"}
    assert (await scim.send("PUT", path, body | {"active": True}))["externalId"] == "00u1"
    await scim.patch(f"/Groups/{audit['id']}", {"op": "remove", "path": f'members[value eq "{alice["id"]}"]'})
    assert await scim.standing("00u1", "staff", "audit") == {Role.STAFF}
    await scim.send("PUT", path, body | {"active": False})
    assert await scim.standing("00u1", "staff") is None
    await scim.send("PUT", path, body | {"active": True})
    await scim.ended.refresh()
    assert not scim.ended.disabled("00u1")
    assert "externalId" not in await scim.send("PUT", path, body | {"externalId": None, "active": False})
    assert await scim.standing("00u1", "staff") is None


@pytest.mark.parametrize("leaves", ["oid-1-deleted", None])
async def test_who_is_renamed_and_switched_off_at_once_has_no_access(scim: Scim, leaves: str | None) -> None:
    alice = await scim.user("oid-1", userName="alice")
    secret = await scim.sessions.open(Principal("oid-1", "A", ("staff",), frozenset({Role.STAFF})), "", "t", None)
    name = {"op": "replace" if leaves else "remove", "path": "externalId"} | ({"value": leaves} if leaves else {})
    await scim.patch(f"/Users/{alice['id']}", name, {"op": "Replace", "path": "active", "value": "False"})
    assert await scim.sessions.find(secret) is None
    assert await scim.standing("oid-1", "staff") is None
    ended = [subject for _, subject in await scim.records("person.disabled")]
    assert ended == ["oid-1", *([leaves] if leaves else [])]


async def test_a_user_name_that_changes_as_it_is_switched_off_has_no_access(make_scim: Any) -> None:
    scim = await make_scim(scim_subject="userName")
    alice = await scim.user("alice@corp")
    left = {"op": "replace", "value": {"userName": "zz-left-alice@corp", "active": False}}
    await scim.patch(f"/Users/{alice['id']}", left)
    assert await scim.standing("alice@corp", "staff") is None
    assert await scim.standing("zz-left-alice@corp", "staff") is None


async def test_silence_about_active_lets_nobody_back_in(scim: Scim) -> None:
    alice = await scim.user("alice", active=False)
    assert await scim.standing("alice", "staff") is None
    body = {"schemas": [USER], "userName": "alice", "externalId": "alice"}
    assert "active" not in await scim.send("PUT", f"/Users/{alice['id']}", body)
    await scim.patch(f"/Users/{alice['id']}", {"op": "remove", "path": "active"})
    assert await scim.standing("alice", "staff") is None
    await scim.send("PUT", f"/Users/{alice['id']}", body | {"active": True})
    await scim.ended.refresh()
    assert not scim.ended.disabled("alice")


async def test_a_person_is_known_by_user_name_where_the_setting_says_so(make_scim: Any) -> None:
    scim = await make_scim(scim_subject="userName")
    alice = await scim.user("Alice@Corp.example", externalId="00u1")
    await scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": False})
    assert await scim.standing("alice@corp.example", "staff") is None, "the case of a userName does not count"
    assert await scim.standing("00u1", "staff") == {Role.STAFF}
    await scim.endings.disable("ALICE@corp.example", reason="administrator", by="ada")
    await scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": True})
    assert await scim.standing("alice@corp.example", "staff") is None, "no spelling takes back what another ended"


async def test_a_user_name_in_another_case_is_let_in_again(make_scim: Any) -> None:
    scim = await make_scim(scim_subject="userName")
    zoe = await scim.user("ZOÉ", externalId="00u1")
    await scim.user("other", externalId="00u2", active=False)
    await scim.patch(f"/Users/{zoe['id']}", {"op": "replace", "path": "active", "value": False})
    await scim.patch(f"/Users/{zoe['id']}", {"op": "replace", "value": {"userName": "zoé", "active": True}})
    await scim.ended.refresh()
    assert not scim.ended.disabled("zoé")
    assert scim.ended.disabled("other")


async def test_a_user_name_in_another_case_gets_a_group_back(make_scim: Any) -> None:
    scim = await make_scim(scim_subject="userName")
    zoe = await scim.user("Zoe@corp", externalId="00u1")
    body = {"schemas": [GROUP], "displayName": "audit", "members": [{"value": zoe["id"]}]}
    group = await scim.send("POST", "/Groups", body, 201)
    await scim.patch(f"/Groups/{group['id']}", {"op": "remove", "path": f'members[value eq "{zoe["id"]}"]'})
    await scim.patch(f"/Users/{zoe['id']}", {"op": "replace", "path": "userName", "value": "zoe@corp"})
    assert await scim.standing("zoe@corp", "staff", "audit") == {Role.STAFF}
    members = {"op": "add", "path": "members", "value": [{"value": zoe["id"]}]}
    await scim.patch(f"/Groups/{group['id']}", members)
    assert await scim.standing("zoe@corp", "staff", "audit") == {Role.STAFF, Role.COMPLIANCE}


async def test_an_accent_in_another_form_is_the_same_person(make_scim: Any) -> None:
    composed, decomposed = "zo\u00e9@corp", "zoe\u0301@corp"
    scim = await make_scim(scim_subject="userName")
    zoe = await scim.user(decomposed)
    audit = await scim.group("audit", zoe)
    await scim.patch(f"/Groups/{audit['id']}", {"op": "remove", "path": f'members[value eq "{zoe["id"]}"]'})
    assert await scim.standing(composed, "staff", "audit") == {Role.STAFF}
    path, members = f"/Users/{zoe['id']}", {"op": "add", "path": "members", "value": [{"value": zoe["id"]}]}
    await scim.patch(path, {"op": "replace", "path": "userName", "value": composed})
    await scim.patch(f"/Groups/{audit['id']}", members)
    assert await scim.standing(decomposed, "staff", "audit") == {Role.STAFF, Role.COMPLIANCE}
    await scim.patch(path, {"op": "replace", "path": "active", "value": False})
    assert await scim.standing(decomposed, "staff") is None
    await scim.patch(path, {"op": "replace", "value": {"userName": decomposed, "active": True}})
    await scim.ended.refresh()
    assert not scim.ended.disabled(composed)


@pytest.mark.parametrize("by", ["provider", "ada"])
async def test_sessions_that_others_end_do_not_make_the_directorys_ending_theirs(scim: Scim, by: str) -> None:
    alice = await scim.user("alice")
    await scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": False})
    await scim.endings.end_sessions_of("alice", reason="backchannel_logout", by=by)
    (one,) = (await People(scim.engine, PersonNames(scim.engine)).found("alice")).people
    assert (one.state, one.reason, one.ended_by) == (State.DISABLED, "scim_inactive", "scim")
    await scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": True})
    await scim.ended.refresh()
    assert not scim.ended.disabled("alice")


async def test_a_user_without_the_attribute_is_kept_but_nobody_known(scim: Scim) -> None:
    body = {"schemas": [USER], "userName": "bob", "active": False}
    await scim.send("POST", "/Users", body, 201)
    assert await scim.standing("bob", "staff") == {Role.STAFF}
    assert await scim.records() == [("directory.changed", "service:idp")]


async def test_who_is_nobody_known_is_told_to_the_administrator(make_scim: Any) -> None:
    scim = await make_scim()
    await scim.user("alice")
    for name in ("bob", "eve"):
        await scim.send("POST", "/Users", {"schemas": [USER], "userName": name, "active": False}, 201)
    found = await scim.directory.unmatched(1)
    assert (found.total, [one.resource.user_name for one in found.resources]) == (2, ["bob"])
    by_name = await make_scim(scim_subject="userName")
    assert (await by_name.directory.unmatched(1)).total == 0


async def test_changes_of_nothing_leave_no_record_and_the_same_version(scim: Scim) -> None:
    alice = await scim.user("alice")
    before = await scim.records()
    again = await scim.patch(f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": True})
    assert again["meta"]["version"] == alice["meta"]["version"]
    assert await scim.records() == before


async def test_a_version_that_is_not_the_newest_changes_nothing(scim: Scim) -> None:
    alice = await scim.user("alice")
    path, off = f"/Users/{alice['id']}", {"op": "replace", "path": "active", "value": False}
    await scim.patch(path, {"op": "replace", "path": "displayName", "value": "A"}, if_match='W/"1"')
    await scim.patch(path, off, status=412, if_match='W/"1"')
    await scim.send("DELETE", path, status=412, if_match='"1"')
    await scim.send("GET", path, status=304, if_none_match='W/"2"')
    await scim.patch(path, off, if_match='W/"9", W/"2"')
    await scim.patch(path, {"op": "add", "path": "displayName", "value": "B"}, if_match="*")
