"""Keys of service accounts on the running product: made by the command, used on the API, revoked in the middle."""

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from audit.governing import Governor
from gateway.database import make_engine
from gateway.keys.registry import ApiKeys
from tests.rig.product import Product, eventually


def ask(product: Product, key: str, path: str = "/auth/me", body: object = None):
    request = urllib.request.Request(product.url + path, data=json.dumps(body).encode() if body else None)
    request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", "application/json")
    return urllib.request.urlopen(request, timeout=60)


def chat(text: str, model: str = "scripted", *, stream: bool = False) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}


def status(product: Product, key: str, path: str = "/auth/me", body: object = None) -> int:
    try:
        with ask(product, key, path, body) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def change(product: Product, key: str, **fields: str) -> int:
    """Send the form of the console's page of keys."""
    body = urllib.parse.urlencode(fields).encode()
    request = urllib.request.Request(product.url + "/console/api-keys", data=body)
    request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def revoke(product: Product, key_id: str) -> None:
    """Revoke without the command, which may take as long to start as the stream lasts."""
    engine = make_engine(f"sqlite+aiosqlite:///{product.data_dir.resolve()}/attest.db")
    try:
        await ApiKeys(Governor(engine)).revoke(key_id, "ada")
    finally:
        await engine.dispose()


def test_a_key_from_its_making_to_its_end(product: Product) -> None:
    key = product.attest("api-keys", "create", "nightly report", "--model", "scripted").strip()
    with ask(product, key) as answer:
        me = json.loads(answer.read())
    key_id = key.split("_")[1]
    assert (me["subject"], me["name"], me["roles"]) == (f"service:{key_id}", "nightly report", ["staff"])
    with ask(product, key, "/v1/chat/completions", chat("PLAIN-EN")) as answer:
        turn_id = json.loads(answer.read())["attest"]["turn_id"]
    assert product.show(turn_id)["subject"] == f"service:{key_id}"
    assert status(product, key, "/api/audit/turns") == 403
    new = product.attest("api-keys", "rotate", key_id, "--overlap-hours", "0").strip()
    assert eventually(lambda: status(product, key) == 401)
    assert status(product, new) == 200
    stream = ask(product, new, "/v1/chat/completions", chat("Tell a STORY.", stream=True))
    with stream:
        assert stream.readline()
        asyncio.run(revoke(product, key_id))
        rest = stream.read().decode()
    assert '"access-ended"' in rest
    assert status(product, new) == 401
    (listed,) = [one for one in json.loads(product.attest("api-keys", "list", "--json")) if one["key_id"] == key_id]
    assert listed["revoked_at"] is not None
    assert key not in product.logs()


def test_a_key_asks_its_models_only(product: Product) -> None:
    key = product.attest("api-keys", "create", "other model", "--model", "another").strip()
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(product, key, "/v1/chat/completions", chat("PLAIN-EN"))
    with refused.value as error:
        assert (error.code, json.loads(error.read())["error"]["code"]) == (403, "forbidden")
    with ask(product, key, "/v1/models") as answer:
        assert json.loads(answer.read())["data"] == []


def test_who_may_not_read_texts_gives_no_key_that_may(product: Product) -> None:
    admin = product.attest("api-keys", "create", "an administrator", "--role", "admin").strip()
    reads = product.attest("api-keys", "create", "export", "--role", "compliance").strip().split("_")[1]
    assert change(product, admin, action="create", name="mine", role="compliance", days="9") == 403
    assert change(product, admin, action="create", name="mine", role="security", days="9") == 403
    assert change(product, admin, action="rotate", key_id=reads, days="9") == 403
    assert change(product, admin, action="create", name="theirs", role="staff", days="9") == 200
    assert change(product, admin, action="revoke", key_id=reads) == 200
