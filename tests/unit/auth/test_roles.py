from typing import Any

import pytest

from gateway.auth.principal import Role
from gateway.auth.roles import RoleMap
from gateway.auth.tokens import TokenError

MAPPING = {"staff": "staff", "/risk": "compliance", "corp/sec": "security"}


@pytest.mark.parametrize(
    ("claim", "claims", "groups", "roles"),
    [
        ("groups", {"groups": ["staff"]}, ("staff",), {Role.STAFF}),
        ("groups", {"groups": ["/staff", "risk", "/corp/sec"]}, ("/staff", "risk", "/corp/sec"),
         {Role.STAFF, Role.COMPLIANCE, Role.SECURITY}),
        ("groups", {"groups": "staff"}, ("staff",), {Role.STAFF}),
        ("groups", {"groups": ["/other/staff", "//staff", "Staff", "staff "]},
         ("/other/staff", "//staff", "Staff", "staff "), set()),
        ("groups", {}, (), set()),
        ("groups", {"groups": None}, (), set()),
        ("groups", {"groups": {"staff": True}}, (), set()),
        ("groups", {"groups": [7, None, "", ["staff"], "staff"]}, ("staff",), {Role.STAFF}),
        ("realm_access.roles", {"realm_access": {"roles": ["staff"]}}, ("staff",), {Role.STAFF}),
        ("resource_access.my.app.roles", {"resource_access": {"my.app": {"roles": ["risk"]}}}, ("risk",),
         {Role.COMPLIANCE}),
        ("https://x.example/groups", {"https://x.example/groups": ["staff"]}, ("staff",), {Role.STAFF}),
        ("a.b", {"a": ["staff"]}, (), set()),
    ],
)  # fmt: skip
def test_groups_give_roles(claim: str, claims: dict[str, Any], groups: tuple[str, ...], roles: set[Role]) -> None:
    principal = RoleMap(claim, MAPPING).principal({"sub": "s", **claims}, session=False)
    assert principal.groups == groups
    assert principal.roles == roles


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Alice Chen", "preferred_username": "alice"}, "Alice Chen"),
        ({"name": "  ", "preferred_username": "alice"}, "alice"),
        ({"name": 5, "email": "a@x.example"}, "a@x.example"),
        ({}, "s"),
        ({"name": "A\u202eb\x00\nc"}, "Abc"),
        ({"name": "x" * 500}, "x" * 200),
    ],
)
def test_the_name_is_one_to_show(claims: dict[str, Any], name: str) -> None:
    assert RoleMap("groups", MAPPING).principal({"sub": "s", **claims}, session=True).name == name


def test_another_claim_may_say_who_somebody_is() -> None:
    roles = RoleMap("groups", MAPPING, "ids.oid")
    assert roles.principal({"sub": "pairwise", "ids": {"oid": "0a-1"}}, session=True).subject == "0a-1"
    assert roles.about({"ids": {"oid": "0a-1"}}, "0a-1")
    for wrong in (None, "", 5, "a\nb", "x" * 256):
        with pytest.raises(TokenError, match=r"^claim_ids\.oid$"):
            roles.principal({"sub": "pairwise", "ids": {"oid": wrong}}, session=True)
        assert not roles.about({"sub": "0a-1", "ids": {"oid": wrong}}, "0a-1")
