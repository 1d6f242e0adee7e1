"""Clients of the running product: the API as programs use it, the page as a browser does."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.rig.product import Product


@dataclass
class Outcome:
    """What one surface showed of a turn."""

    text: str = ""
    outcome: str = ""
    reason: str = ""
    categories: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    redacted: bool = False
    turn_id: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> tuple[object, ...]:
        return (self.text, self.outcome, self.reason, self.categories, self.rules, self.redacted)


def post(product: Product, path: str, body: object, person: str = "alice", timeout: float = 60, **headers: str):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(product.url + path, data=data, method="POST")
    request.add_header("Content-Type", "application/json")
    if person:
        request.add_header("Authorization", f"Bearer {product.token(person)}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # The connection goes with the body read, so that no test has to close it.
        with error:
            body = io.BytesIO(error.read())
        raise urllib.error.HTTPError(error.url, error.code, error.msg, error.headers, body) from None


def status_and_body(product: Product, path: str, body: object, person: str = "alice") -> tuple[int, dict[str, object]]:
    try:
        with post(product, path, body, person) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def _filled(outcome: Outcome, info: dict[str, object]) -> Outcome:
    outcome.outcome, outcome.reason = str(info["outcome"]), str(info.get("reason", ""))
    outcome.categories = tuple(info.get("categories", ()))
    outcome.rules = tuple(info.get("rules", ()))
    outcome.redacted = bool(info.get("redacted", False))
    outcome.turn_id = str(info["turn_id"])
    return outcome


def by_api(product: Product, text: str, person: str = "alice") -> Outcome:
    with post(product, "/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}, person) as answer:
        body = json.loads(answer.read())
    return _filled(Outcome(text=body["choices"][0]["message"]["content"]), body["attest"])


def by_api_stream(product: Product, text: str, person: str = "alice") -> Outcome:
    body = {"messages": [{"role": "user", "content": text}], "stream": True}
    outcome = Outcome()
    with post(product, "/v1/chat/completions", body, person) as answer:
        for event in events(answer):
            if event == "[DONE]":
                continue
            chunk = json.loads(event)
            piece = chunk["choices"][0]["delta"].get("content") or ""
            outcome.pieces.append(piece)
            if "attest" in chunk:
                _filled(outcome, chunk["attest"])
    outcome.text = "".join(outcome.pieces)
    return outcome


def by_page(product: Product, text: str, person: str = "alice") -> Outcome:
    """As the page's script does it, on a bearer token: cookies are the browser tests' matter."""
    with post(product, "/chat/conversations", {}, person) as answer:
        conversation = json.loads(answer.read())["id"]
    outcome = Outcome()
    with post(product, f"/chat/{conversation}/turns", {"text": text}, person) as answer:
        for name, event in named_events(answer):
            if name == "released":
                outcome.pieces.append(json.loads(event)["text"])
            elif name == "ended":
                _filled(outcome, json.loads(event)["turn"])
    outcome.text = "".join(outcome.pieces)
    return outcome


def events(answer) -> Iterator[str]:
    return (event for _, event in named_events(answer))


def named_events(answer) -> Iterator[tuple[str, str]]:
    name = ""
    for raw in answer:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, line.removeprefix("data: ")
            name = ""
