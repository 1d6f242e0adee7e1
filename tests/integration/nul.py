"""A NUL wherever a request may hold a text: PostgreSQL keeps none, so that what is passed on to it becomes a fault.

The routes and the names of what they take are found by themselves.
"""

import inspect
import re
import tempfile
import urllib.parse
from collections.abc import Iterator
from typing import NamedTuple

from gateway.app import create_app
from gateway.auth.access import ACCESS
from gateway.settings import load
from tests.integration.test_other_ids import BODIES, MADE_UP, Theirs, allowed, call
from tests.rig.product import Product

NUL = "a\x00b"
NOT_OFFERED = 501
SEARCHED = ("subject", "group", "since", "verdict", "category", "rule", "model", "conversation_id", "role", "text",
            "purpose", "cursor", "kind", "case_number", "q", "filter")  # fmt: skip
"""What pages and searches are asked with, beside what a handler's signature names."""


class Route(NamedTuple):
    """One way to ask."""

    method: str
    path: str
    access: tuple[str, ...]
    names: frozenset[str]


def routes() -> Iterator[Route]:
    """Yield every route of the product but those that answer with endless or static things."""
    for route in create_app(load(data_dir=tempfile.mkdtemp())).routes:
        for handler in getattr(route, "route_handlers", []):
            names = frozenset(inspect.signature(handler.fn).parameters)
            for method in sorted(handler.http_methods - {"HEAD", "OPTIONS"}):
                if not route.path_format.startswith(("/static", "/docs", "/v1/chat", "/auth", "/development")):
                    yield Route(method, route.path_format, tuple(handler.opt.get(ACCESS, ())), names)


def faults(product: Product) -> tuple[list[tuple[str, str, int]], int]:
    """Ask everything with a NUL in its path, in each thing it may be asked with and in its body; return what broke."""
    key = product.attest("api-keys", "create", "nul", "--role", "provisioning").strip()
    theirs, broken, asked = Theirs(product, {}, key), [], 0
    for route in routes():
        for target, body in _ways(route):
            people = allowed(route.access)
            status = call(theirs, people[0] if people else "alice", route.method, target, body).status
            asked += 1
            if status >= 500 and status != NOT_OFFERED:
                broken.append((route.method, target, status))
    return broken, asked


def _ways(route: Route) -> Iterator[tuple[str, object]]:
    body = BODIES.get((route.method, re.sub(r":\w+\}", "}", route.path)), {})
    plain = re.sub(r"\{[^}]*\}", MADE_UP, route.path)
    if plain != route.path:
        yield re.sub(r"\{[^}]*\}", "a%00b", route.path), body
    if route.method == "GET":
        searched = SEARCHED if route.path.startswith(("/console", "/api", "/scim")) else ()
        for name in sorted(route.names | set(searched)):
            yield f"{plain}?{urllib.parse.urlencode({name: NUL})}", None
    else:
        yield (
            plain,
            _with_nul(body) or dict.fromkeys((*sorted(route.names), *SEARCHED, "name", "number", "reason"), NUL),
        )


def _with_nul(value: object) -> object:
    if isinstance(value, dict):
        return {name: one if name == "schemas" else _with_nul(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_nul(one) for one in value]
    return value + "\x00" if isinstance(value, str) and value not in {"replace", "true", "refused"} else value
