"""Every route says who may call it, and it is true: all routes, as nobody and as each role."""

import json
import re
import tempfile
import urllib.error
import urllib.request

import pytest

from gateway.app import create_app
from gateway.auth.access import ACCESS
from gateway.auth.principal import Role
from gateway.settings import load
from tests.rig.product import Product

PEOPLE = {"alice": {Role.STAFF}, "carol": {Role.STAFF, Role.COMPLIANCE}, "sam": {Role.STAFF, Role.SECURITY},
          "ada": {Role.STAFF, Role.ADMIN}}  # fmt: skip
ROUTES = sorted(
    (
        (method, route.path_format, tuple(handler.opt.get(ACCESS, ())))
        for route in create_app(load(data_dir=tempfile.mkdtemp())).routes
        for handler in getattr(route, "route_handlers", [getattr(route, "route_handler", None)])
        for method in sorted(getattr(handler, "http_methods", {"GET"}))
        if method not in {"HEAD", "OPTIONS"}
    ),
    key=lambda route: route[:2],  # the framework keeps handlers in sets: every process lists them alike
)


def call(product: Product, method: str, path: str, token: str | None) -> int:
    path = re.sub(r"\{[^}]*\}", "01890000-0000-7000-8000-000000000000", path)
    request = urllib.request.Request(product.url + path, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if method in {"POST", "PUT", "PATCH", "DELETE"}:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps({}).encode()
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, req, fp, code, msg, headers):
        raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)

    http_error_303 = http_error_302


def test_every_route_says_who_may_call_it():
    silent = [f"{method} {path}" for method, path, access in ROUTES if not access]
    assert silent == []
    assert len(ROUTES) > 15


@pytest.mark.parametrize(("method", "path", "access"), [r for r in ROUTES if r[2] != ("public",)])
def test_nobody_is_turned_away(product: Product, method: str, path: str, access: tuple[str, ...]):
    assert call(product, method, path, None) == 401


def test_a_provisioning_client_gets_scim_and_nothing_else(product: Product):
    key = product.attest("api-keys", "create", "every route", "--role", "provisioning").strip()
    for method, path, access in ROUTES:
        if "public" in access:
            continue
        status = call(product, method, path, key)
        if "provisioning" in access:
            assert status not in {401, 403}, f"{method} {path}: {status}"
            assert status < 500 or status == 501, f"{method} {path}: {status}"
        else:
            assert status == 403, f"{method} {path}: {status}"


@pytest.mark.parametrize(("method", "path", "access"), ROUTES)
def test_each_person_gets_what_the_route_says(product: Product, method: str, path: str, access: tuple[str, ...]):
    for name, roles in PEOPLE.items():
        status = call(product, method, path, product.token(name))
        allowed = access == ("public",) or bool(roles & {Role(role) for role in access})
        assert status < 500
        assert (status not in {401, 403}) == allowed, f"{name}: {status}"
