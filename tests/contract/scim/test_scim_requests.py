"""What a provisioning client asks, rightly and wrongly: answered within bounds, in SCIM's words, never with a 500."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.scim.conftest import PATCH, USER, Scim

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


async def raw(scim: Scim, method: str, path: str, content: bytes, kind: str = "application/scim+json") -> Any:
    answer = await scim.client.request(method, "/scim/v2" + path, content=content, headers={"content-type": kind})
    body = answer.json()
    if answer.status_code >= 400:
        assert answer.headers["content-type"].startswith("application/scim+json")
        assert (body["schemas"], body["status"]) == ([ERROR], str(answer.status_code))
    return answer.status_code, body.get("scimType"), body.get("detail", "")


async def names(scim: Scim, query: str) -> list[str]:
    found = await scim.send("GET", f"/Users?{query}")
    assert found["itemsPerPage"] == len(found["Resources"])
    return [each["userName"] for each in found["Resources"]]


async def test_filters_and_pages(scim: Scim) -> None:
    for name in ("Alice", "bob", "Çelik"):
        await scim.user(name, displayName=f"The {name}", active=name != "bob")
    nobody = await scim.send("POST", "/Users", {"schemas": [USER], "userName": "nobody"}, 201)
    expected = {
        'userName eq "ALICE"': ["Alice"],
        'userName eq "çelik"': ["Çelik"],
        f'{USER}:userName eq "bob"': ["bob"],
        'externalId eq "bob"': ["bob"],
        'externalId eq "BOB"': [],
        f'id eq "{nobody["id"]}"': ["nobody"],
        'displayName eq "the bob"': ["bob"],
        "active eq false": ["bob"],
        'userName eq "alice" or externalId eq "bob"': ["Alice", "bob"],
        'not (externalId eq "bob") and userName ne "alice"': ["Çelik", "nobody"],
        'userName eq "x\' or 1=1 --"': [],
    }
    for text, found in expected.items():
        assert await names(scim, "filter=" + quote(text)) == found, text
    assert await names(scim, "startIndex=2&count=2") == ["bob", "Çelik"]
    assert await names(scim, "startIndex=-5&count=1") == ["Alice"]
    assert await names(scim, "count=-1") == []
    assert await names(scim, "startIndex=999999999999999999&count=999999999999") == []
    page = await scim.send("GET", "/Users?count=0")
    assert (page["totalResults"], page["Resources"]) == (4, [])
    only = await scim.send("GET", "/Users?count=1&attributes=active")
    assert set(only["Resources"][0]) == {"schemas", "id", "active"}


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("filter=userName+eq", "invalidFilter"),
        ('filter=userName+co+"a"', "invalidFilter"),
        ("filter=userName+pr", "invalidFilter"),
        ("filter=userName+eq+5", "invalidFilter"),
        ('filter=active+eq+"true"', "invalidFilter"),
        ('filter=password+eq+"a"', "invalidFilter"),
        ('filter=emails[type+eq+"work"]', "invalidFilter"),
        ('filter=userName+eq+"%00"', "invalidFilter"),
        ("filter=" + "(" * 900, "invalidFilter"),
        ("filter=" + "not+(" * 60 + 'userName+eq+"a"' + ")" * 60, "invalidFilter"),
        ("filter=" + "+or+".join(['id+eq+"a"'] * 30), "invalidFilter"),
        ('filter=userName+eq+"' + "a" * 1000 + '"', "invalidFilter"),
        ("count=many", "invalidValue"),
        ("startIndex=" + "9" * 400, "invalidValue"),
        ("attributes=" + "a," * 2000, "invalidValue"),
        ("attributes=userName&excludedAttributes=active", "invalidValue"),
    ],
)
async def test_a_wrong_question_is_an_error_of_the_protocol(scim: Scim, query: str, kind: str) -> None:
    for resource in ("Users", "Groups"):
        assert (await raw(scim, "GET", f"/{resource}?{query}", b""))[:2] == (400, kind)


NEW = {"schemas": [USER], "userName": "eve", "externalId": "eve"}
HOSTILE: list[tuple[bytes, int, str | None]] = [
    (b"", 400, "invalidSyntax"),
    (b"{", 400, "invalidSyntax"),
    (b"[]", 400, "invalidSyntax"),
    (b"null", 400, "invalidSyntax"),
    (b'"text"', 400, "invalidSyntax"),
    (b"\xff\xfe{}", 400, "invalidSyntax"),
    (b"{}", 400, None),
    (b"[" * 100_000, 400, "invalidSyntax"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, 400, "invalidSyntax"),
    (json.dumps(NEW | {"userName": "a\0b"}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"userName": ""}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"userName": "a" * 256}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"userName": ["eve"]}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"userName": None}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"externalId": "a" * 256}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"active": "perhaps"}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"name": "Eve"}).encode(), 400, None),
    (json.dumps(NEW | {"emails": [{"value": "a@b"}] * 21}).encode(), 400, "invalidValue"),
    (json.dumps(NEW | {"displayName": 10**30}).encode(), 400, "invalidValue"),
    (b'{"schemas":["' + USER.encode() + b'"],"userName":"\\ud800"}', 400, None),
]


@pytest.mark.parametrize(("content", "status", "kind"), HOSTILE)
async def test_a_hostile_body_is_refused_in_scims_words(
    scim: Scim, content: bytes, status: int, kind: str | None
) -> None:
    got, got_kind, detail = await raw(scim, "POST", "/Users", content)
    assert got == status, detail
    assert kind is None or got_kind == kind
    assert (await scim.send("GET", "/Users"))["totalResults"] == 0


async def test_other_ways_to_be_wrong(scim: Scim) -> None:
    assert (await raw(scim, "POST", "/Users", json.dumps(NEW).encode(), "text/plain"))[0] == 415
    assert (await raw(scim, "POST", "/Users", b'"' + b"a" * 1_100_000 + b'"'))[0] == 413
    eve = await scim.user("eve")
    for again in (NEW | {"externalId": "x"}, NEW | {"userName": "EVE", "externalId": "y"}, NEW | {"userName": "z"}):
        assert (await raw(scim, "POST", "/Users", json.dumps(again).encode()))[:2] == (409, "uniqueness")
    other = await scim.user("other")
    renamed = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "userName", "value": "eve"}]}
    assert (await raw(scim, "PATCH", f"/Users/{other['id']}", json.dumps(renamed).encode()))[:2] == (409, "uniqueness")
    for path in ("/Users/none", "/Groups/none", "/Schemas/none", "/ResourceTypes/none", "/nothing", ""):
        assert (await raw(scim, "GET", path, b""))[0] == 404
    assert (await raw(scim, "PUT", "/ServiceProviderConfig", b"{}"))[0] == 405
    assert (await raw(scim, "GET", "/Schemas?filter=a", b""))[0] == 403
    assert (await raw(scim, "POST", "/Bulk", b"{}"))[0] == 501
    assert (await scim.send("GET", f"/Users/{eve['id']}"))["userName"] == "eve"


FAR = "emails[" + " or ".join(['value eq "a"'] * 58) + "].value"
MANY = {f"{number}": 1 for number in range(1000)}
PATCHES: list[tuple[Any, str]] = [
    ({}, "invalidSyntax"),
    ({"schemas": [PATCH]}, "invalidSyntax"),
    ({"schemas": [PATCH], "Operations": []}, "invalidSyntax"),
    ({"schemas": [PATCH], "Operations": "all"}, "invalidSyntax"),
    ({"schemas": [PATCH], "Operations": [5]}, "invalidSyntax"),
    ({"schemas": [USER], "Operations": [{"op": "remove", "path": "active"}]}, "invalidSyntax"),
    ({"schemas": [PATCH], "Operations": [{"op": "add", "path": "active", "value": True}] * 101}, "tooMany"),
    ({"schemas": [PATCH], "Operations": [{"op": "burn", "path": "active"}]}, "invalidValue"),
    ({"schemas": [PATCH], "Operations": [{"op": "remove"}]}, "noTarget"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active[[", "value": 1}]}, "invalidPath"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "id", "value": "x"}]}, "mutability"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"id": "other"}}]}, "mutability"),
    ({"schemas": [PATCH], "Operations": [{"op": "remove", "path": "userName"}]}, "mutability"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": "perhaps"}]}, "invalidValue"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "userName", "value": "a" * 300}]}, "invalidValue"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "externalId", "value": "a" * 300}]}, "invalidValue"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "path": 5, "value": "a"}]}, "invalidValue"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "path": "a" * 1001, "value": "a"}]}, "invalidPath"),
    ({"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"a" * 1001: "a"}}]}, "invalidPath"),
    ({"schemas": [PATCH], "Operations": [{"op": "add", "path": FAR, "value": "a"}] * 11}, "tooMany"),
    ({"schemas": [PATCH], "Operations": [{"op": "add", "value": {"name": MANY}}]}, "tooMany"),
    ({"schemas": [PATCH], "Operations": [{"op": "add", "value": {"active": False, **MANY}}]}, "tooMany"),
]


@pytest.mark.parametrize(("body", "kind"), PATCHES)
async def test_a_patch_that_cannot_be_changes_nothing(scim: Scim, body: Any, kind: str) -> None:
    eve = await scim.user("eve")
    status, got, detail = await raw(scim, "PATCH", f"/Users/{eve['id']}", json.dumps(body).encode())
    assert (status, got) == (400, kind), detail
    assert "perhaps" not in detail
    assert await scim.send("GET", f"/Users/{eve['id']}") == eve


async def test_a_patch_is_read_before_the_directory_is_held(scim: Scim, monkeypatch: pytest.MonkeyPatch) -> None:
    eve = await scim.user("eve")
    monkeypatch.setattr(scim.directory._governor, "transaction", lambda: pytest.fail("the directory is held"))
    await scim.patch(f"/Users/{eve['id']}", {"op": "replace", "path": "active[[", "value": 1}, status=400)


async def test_what_entra_and_okta_send_beside_the_specification(scim: Scim) -> None:
    extension = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    eve = await scim.user(
        "eve", schemas=[USER, extension], password="secret", roles=[], **{extension: {"department": "x"}},
        meta={"resourceType": "User"}, emails=[{"primary": True, "type": "work", "value": "e@corp"}],
    )  # fmt: skip
    assert not {"password", "roles", extension} & set(eve)
    shown = await scim.patch(
        f"/Users/{eve['id']}",
        {"op": "Add", "path": 'emails[type eq "home"].value', "value": "h@home"},
        {"op": "Replace", "path": "displayName", "value": [{"$ref": None, "value": "Eve"}]},
        {"op": "Add", "path": f"{extension}:department", "value": "y"},
        {"op": "Replace", "value": {"name.familyName": "E", "active": "True", "schemas": [USER], "id": eve["id"]}},
    )
    assert (shown["displayName"], shown["name"], shown["active"]) == ("Eve", {"familyName": "E"}, True)
    assert [each["value"] for each in shown["emails"]] == ["e@corp", "h@home"]


async def test_a_flood_is_held_to_the_rate(make_scim: Any) -> None:
    scim = await make_scim(scim_per_minute=3)
    for _ in range(3):
        await scim.send("GET", "/Users")
    answer = await scim.client.get("/scim/v2/Users")
    assert (answer.status_code, answer.json()["status"]) == (429, "429")
    assert int(answer.headers["retry-after"]) >= 1
