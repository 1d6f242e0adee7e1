"""A client of the audit log's routes, as officers use them."""

import json
import urllib.error
import urllib.request
from urllib.parse import urlencode

from tests.rig.product import Product

CASE = "CASE-2026-17"


class Answer:
    def __init__(self, status: int, body: bytes, headers) -> None:
        self.status, self.body, self.headers = status, body, headers

    @property
    def json(self):
        return json.loads(self.body)


def ask(product: Product, path: str, person: str = "carol", headers: dict[str, str] | None = None, **query) -> Answer:
    address = f"{product.url}/api/audit/{path}" + (f"?{urlencode(query)}" if query else "")
    request = urllib.request.Request(address, headers=headers or {})
    if person:
        request.add_header("Authorization", f"Bearer {product.token(person)}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.read(), answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read(), error.headers)


def accesses(product: Product, kind: str = "access.denied", **query) -> list[dict[str, object]]:
    return ask(product, "records", "sam", kind=kind, limit=200, **query).json["records"]


def found(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [turn["turn_id"] for turn in answer.json["turns"]]
