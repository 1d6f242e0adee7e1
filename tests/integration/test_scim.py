"""SCIM on the running product: its conformance, who may call it, and a stream that it cuts."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

from tests.integration.test_api_keys import ask, chat
from tests.rig.product import Product, eventually

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    """The key of a provisioning client."""
    return product.attest("api-keys", "create", "directory", "--role", "provisioning").strip()


def send(product: Product, token: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    request = urllib.request.Request(product.url + path, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/scim+json")
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def activity(product: Product, key: str, user_id: str, active: object) -> None:
    operation = {"op": "Replace", "path": "active", "value": active}
    body = {"schemas": [PATCH], "Operations": [operation]}
    status, _ = send(product, key, "PATCH", f"/scim/v2/Users/{user_id}", body)
    assert status == 200


def comes_back(product: Product, name: str) -> bool:
    """Whether a token that is given out now lets the person in.

    Tokens tell their time in whole seconds, and one of the second in which access was given back counts as older.
    """
    del product.tokens[name]
    return send(product, product.token(name), "GET", "/auth/me")[0] == 200


def test_the_whole_check_of_scim2_tester_passes(product: Product, key: str) -> None:
    with Client(base_url=product.url + "/scim/v2", headers={"authorization": f"Bearer {key}"}, timeout=60) as http:
        results = check_server(SyncSCIMClient(http))
    wrong = [(each.title, each.reason) for each in results if each.status not in (Status.SUCCESS, Status.SKIPPED)]
    assert wrong == []
    passed = [each for each in results if each.status == Status.SUCCESS]
    assert len(passed) > 40, "the check ran"
    assert {each.title for each in results if each.status == Status.SKIPPED} <= {"search_with_attributes"}


def test_a_provisioning_key_calls_scim_and_nothing_else(product: Product, key: str) -> None:
    assert send(product, key, "GET", "/scim/v2/Users")[0] == 200
    for path in ("/auth/me", "/v1/models", "/api/audit/turns", "/console/api-keys", "/usage"):
        assert send(product, key, "GET", path)[0] == 403
    status, error = send(product, product.token("ada"), "GET", "/scim/v2/Users")
    assert (status, error["schemas"]) == (403, ["urn:ietf:params:scim:api:messages:2.0:Error"])
    status, error = send(product, "attest_0123456789ab_" + "A" * 43, "GET", "/scim/v2/Users")
    assert (status, error["status"]) == (401, "401")


def test_an_inactive_person_loses_the_open_stream_and_all_access(product: Product, key: str) -> None:
    new = {"schemas": [USER], "userName": "sam@corp.example", "externalId": "sam", "active": True}
    status, user = send(product, key, "POST", "/scim/v2/Users", new)
    assert status == 201
    sam = product.token("sam")
    try:
        with ask(product, sam, "/v1/chat/completions", chat("Tell a STORY.", stream=True)) as stream:
            assert stream.readline()
            activity(product, key, user["id"], "False")
            rest = stream.read().decode()
        assert '"access-ended"' in rest
        assert send(product, sam, "GET", "/auth/me")[0] == 401
        assert send(product, product.token("alice"), "GET", "/auth/me")[0] == 200
        with ask(product, product.token("ada"), "/console/people") as answer:
            page = answer.read().decode()
        row = next(row for row in page.split("<tr>") if 'value="sam"' in row)
        assert all(words in row for words in ("Access ended", "inactive in the directory (SCIM)", "</time>"))
    finally:
        activity(product, key, user["id"], True)
    assert eventually(lambda: comes_back(product, "sam"))
    new_token = product.token("sam")
    assert send(product, key, "DELETE", f"/scim/v2/Users/{user['id']}")[0] == 204
    assert eventually(lambda: send(product, new_token, "GET", "/auth/me")[0] == 401)
    assert send(product, key, "POST", "/scim/v2/Users", new)[0] == 201
    assert eventually(lambda: comes_back(product, "sam"))


def test_an_administrator_is_told_that_the_directory_has_a_person_inactive(product: Product, key: str) -> None:
    new = {"schemas": [USER], "userName": "uma@corp.example", "externalId": "uma", "active": True}
    _, user = send(product, key, "POST", "/scim/v2/Users", new)

    def change(action: str) -> str:
        form = urllib.parse.urlencode({"subject": "uma", "action": action}).encode()
        request = urllib.request.Request(product.url + "/console/people", form, method="POST")
        request.add_header("Authorization", f"Bearer {product.token('ada')}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.read().decode())

    change("disable")
    activity(product, key, user["id"], False)
    assert "the directory (SCIM) says that this person is inactive" in change("restore")
    assert "Access is restored." in change("restore")
