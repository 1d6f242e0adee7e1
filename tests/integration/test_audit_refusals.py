"""The log asked over HTTP by those who may not, or for what cannot be answered: a problem, nothing leaked, a record."""

import json
import time
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest

from tests.integration.audit_client import CASE, accesses, ask, found
from tests.integration.client import by_api, post
from tests.rig.product import Product

TEXT = "zebra-lantern"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("turns", {"cursor": "AAAA"}),
        ("turns", {"cursor": "x" * 5000}),
        ("turns", {"limit": "0"}),
        ("turns", {"limit": "201"}),
        ("turns", {"limit": "9" * 400}),
        ("turns", {"limit": "1e2"}),
        ("turns", {"since": "yesterday"}),
        ("turns", {"since": "2026-11-20T08:00:01"}),
        ("turns", {"since": "0001-01-01T00:00:00+14:00"}),
        ("turns", {"since": "2026-11-20T08:00:00Z", "until": "2026-11-19T08:00:00Z"}),
        ("turns", {"order": "sideways"}),
        ("turns", {"subjct": "alice"}),
        ("turns", {"subject": "x" * 2000}),
        ("turns", {"text": "!!!", "purpose": CASE}),
        ("turns", {"text": TEXT, "purpose": "\x00"}),
        ("turns", {"text": TEXT, "purpose": "x" * 200}),
        ("turns", {"text": TEXT, "purpose": " "}),
        ("turns/x", {"content": "maybe"}),
        ("turns/" + "x" * 300, {}),
        ("facets", {"interval": "minute"}),
        ("facets", {"interval": "eon"}),
        ("facets", {"text": TEXT}),
        ("records", {"kind": "everything"}),
        ("records", {"cursor": "AAAA"}),
        ("export", {"format": "exe"}),
        ("export", {"content": "true"}),
        ("export", {"limit": "1"}),
    ],
)
def test_what_cannot_be_answered_is_a_problem_and_on_record(product: Product, path: str, query):
    answer = ask(product, path, **query)
    assert answer.status == 400
    problem = answer.json
    assert problem["type"] in {"urn:attest:problem:bad-request", "urn:attest:problem:purpose-required"}
    for value in query.values():
        assert len(value) < 3 or value in {"true", "minute", "newest"} or value not in problem["detail"]
    denied = accesses(product)[0]
    assert denied["reason"] in {"bad_request", "purpose_required"}
    assert denied["detail"]["status"] == 400
    assert denied["detail"]["route"].startswith("/api/audit/")


def test_a_body_that_is_nested_too_deeply_is_a_problem_and_on_record(product: Product):
    body = b'{"subject":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {product.token('carol')}"}
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(urllib.request.Request(f"{product.url}/api/audit/export", body, headers), timeout=60)
    assert json.load(refusal.value)["detail"] == "The body is nested too deeply."
    assert accesses(product)[0]["detail"]["status"] == 400


HOSTILE = [
    "' OR 1=1 --",
    '{"$gt": ""}',
    "*:* OR subject:*",
    "../../etc/passwd",
    "%00",
    "\x00",
    "\u202e",
    "💥" * 100,
    "😀; DROP TABLE",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_values(product: Product, value: str):
    for name in ("subject", "group", "verdict", "category", "rule", "model", "conversation_id", "role"):
        assert found(ask(product, "turns", **{name: value})) == []
    assert ask(product, f"turns/{quote(value, safe='')}").status in {400, 404}
    assert ask(product, "facets", subject=value).json["turns"] == 0


def _denied(
    product: Product, path: str, person: str, forged: dict[str, str], status: int, route: str, known: str
) -> dict[str, object]:
    """Ask, be refused without a word of `known`, and return the record of it.

    Refusals of people who are not signed in are recorded up to sixty a minute, and tests before this one may have had
    them all: then again in the next minute.
    """
    until = time.monotonic() + 75
    while True:
        answer = ask(product, path, person, headers=forged)
        assert answer.status == status
        assert known not in answer.body.decode()
        denied = accesses(product)[0]
        if denied["detail"]["route"] == route or person or time.monotonic() > until:
            assert denied["detail"]["route"] == route
            return denied
        time.sleep(2)


def test_those_who_may_not_are_refused_and_on_record(product: Product):
    turn_id = by_api(product, "Please answer PLAIN-EN now.").turn_id
    paths = ("turns", f"turns/{turn_id}", "facets", "records", "export")
    for person, status, subject in (("alice", 403, None), ("ada", 403, None), ("", 401, "anonymous")):
        for path in paths:
            forged = {"X-Roles": "compliance", "X-Forwarded-User": "carol", "X-Attest-Role": "compliance"}
            route = "/api/audit/" + (path if "/" not in path else "turns/{turn_id}")
            denied = _denied(product, path, person, forged, status, route, turn_id)
            assert denied["detail"]["status"] == status
            assert denied["subject"] == (subject or denied["subject"])
    token = product.token("carol")
    for forged in (token[:-4] + "AAAA", token.rsplit(".", 1)[0] + ".", "eyJhbGciOiJub25lIn0.e30."):
        assert ask(product, "turns", "", headers={"Authorization": f"Bearer {forged}"}).status == 401
    body = {"subject": "alice"}
    with pytest.raises(urllib.error.HTTPError) as refusal:
        post(product, "/api/audit/export", body, "alice")
    assert refusal.value.code == 403
