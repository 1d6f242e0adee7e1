"""Groups of the directory: who is a member, by every form of a change, and what a group's name gives."""

from typing import Any

import pytest

from gateway.auth.principal import Role
from gateway.scim import groups
from tests.contract.scim.conftest import GROUP, PATCH, Scim


async def test_a_group_that_a_put_does_not_name_anew_keeps_its_external_id(make_scim: Any) -> None:
    scim = await make_scim(scim_group="externalId")
    alice = await scim.user("alice")
    members = [{"value": alice["id"]}]
    body = {"schemas": [GROUP], "displayName": "Auditors", "members": members}
    made = await scim.send("POST", "/Groups", body | {"externalId": "audit"}, 201)
    await scim.send("PUT", f"/Groups/{made['id']}", body)
    assert await scim.standing("alice", "staff", "audit") == {Role.STAFF, Role.COMPLIANCE}
    await scim.send("PUT", f"/Groups/{made['id']}", body | {"members": []})
    assert await scim.standing("alice", "staff", "audit") == {Role.STAFF}


async def test_a_group_counts_no_longer_for_who_left_it(scim: Scim) -> None:
    alice, bob = await scim.user("alice"), await scim.user("bob")
    audit = await scim.group("audit", alice, bob)
    both = {Role.STAFF, Role.COMPLIANCE}
    assert await scim.standing("alice", "/staff", "/audit") == both
    leaves = {"op": "Remove", "path": f'members[value eq "{alice["id"]}"]'}
    await scim.patch(f"/Groups/{audit['id']}", leaves)
    assert await scim.standing("alice", "/staff", "/audit") == {Role.STAFF}
    assert await scim.standing("bob", "/staff", "/audit") == both
    await scim.patch(f"/Groups/{audit['id']}", {"op": "add", "path": "members", "value": [{"value": alice["id"]}]})
    assert await scim.standing("alice", "/staff", "/audit") == both
    assert await scim.records("person.moved") == [("person.moved", "alice")] * 2
    await scim.send("DELETE", f"/Groups/{audit['id']}", status=204)
    assert await scim.standing("alice", "/staff", "/audit") == {Role.STAFF}
    assert await scim.standing("bob", "/staff", "/audit") == {Role.STAFF}


async def test_a_renamed_group_counts_under_its_new_name(scim: Scim) -> None:
    alice = await scim.user("alice")
    audit = await scim.group("audit", alice)
    renamed = {"op": "replace", "value": {"id": audit["id"], "displayName": "auditors"}}
    await scim.patch(f"/Groups/{audit['id']}", renamed)
    assert await scim.standing("alice", "staff", "audit") == {Role.STAFF}
    await scim.patch(f"/Groups/{audit['id']}", {"op": "replace", "path": "displayName", "value": "audit"})
    assert await scim.standing("alice", "staff", "audit") == {Role.STAFF, Role.COMPLIANCE}


async def test_members_by_put_and_by_the_forms_of_entra_and_okta(scim: Scim) -> None:
    people = [await scim.user(name) for name in ("alice", "bob", "carol")]
    ids = [each["id"] for each in people]
    made = await scim.group("audit")
    path = f"/Groups/{made['id']}"

    async def members() -> set[int]:
        shown = await scim.send("GET", path)
        return {ids.index(each["value"]) for each in shown.get("members", [])}

    def values(*which: int) -> list[dict[str, str]]:
        return [{"value": ids[each]} for each in which]

    steps: list[tuple[dict[str, Any], set[int]]] = [
        ({"op": "Add", "path": "members", "value": values(0, 1)}, {0, 1}),
        ({"op": "Remove", "path": "members", "value": values(0)}, {1}),
        ({"op": "add", "value": {"members": values(2)}}, {1, 2}),
        ({"op": "replace", "path": "members", "value": values(0)}, {0}),
        ({"op": "replace", "value": {"members": values(1, 2), "displayName": "audit"}}, {1, 2}),
        ({"op": "remove", "path": f'Members[value EQ "{ids[1]}"]'}, {2}),
        ({"op": "add", "path": f"{GROUP}:members", "value": {"value": ids[0]}}, {0, 2}),
        ({"op": "remove", "path": "members"}, set()),
    ]
    for operation, expected in steps:
        await scim.patch(path, operation)
        assert await members() == expected, operation
    await scim.patch(path, *[operation for operation, _ in steps[:3]])
    assert await members() == {1, 2}
    await scim.send("PUT", path, {"schemas": [GROUP], "displayName": "audit", "members": values(0)})
    assert await members() == {0}
    shown = await scim.send("GET", f'/Groups?filter=members.value%20eq%20"{ids[0]}"&excludedAttributes=members')
    assert [each["id"] for each in shown["Resources"]] == [made["id"]]
    assert "members" not in shown["Resources"][0]
    await scim.send("DELETE", f"/Users/{ids[0]}", status=204)
    assert await members() == set()


@pytest.mark.parametrize("most", [3])
async def test_a_group_of_too_many_and_of_strangers_is_refused_whole(
    scim: Scim, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_MEMBERS", most)
    people = [await scim.user(f"p{number}") for number in range(4)]
    audit = await scim.group("audit", *people[:3])
    more = {"op": "add", "path": "members", "value": [{"value": people[3]["id"]}]}
    stranger = {"op": "add", "path": "members", "value": [{"value": "nobody"}]}
    name = {"op": "replace", "path": "displayName", "value": "other"}
    for operation in (more, stranger):
        error = await scim.patch(f"/Groups/{audit['id']}", name, operation, status=400)
        assert error["scimType"] == "invalidValue"
    shown = await scim.send("GET", f"/Groups/{audit['id']}")
    assert (shown["displayName"], len(shown["members"])) == ("audit", 3)
    assert PATCH not in shown["schemas"]
