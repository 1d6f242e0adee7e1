"""The gateway against a real Keycloak with the realm that ships."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp
import pytest

from gateway.auth import provider as provider_module
from tests.rig.keycloak import CLIENT_SECRET, PASSWORD, Keycloak
from tests.rig.sign_in import Browser, Page, SmallGateway, small_gateway

pytestmark = pytest.mark.slow


@pytest.fixture
async def gateway(tmp_path: Path, real_keycloak: Keycloak) -> AsyncIterator[SmallGateway]:
    settings = {
        "port": real_keycloak.gateway_port,
        "oidc_issuer": real_keycloak.issuer,
        "oidc_client_secret": CLIENT_SECRET,
    }
    async with small_gateway(tmp_path, **settings) as running:
        yield running


def new_browser(gateway: SmallGateway) -> Browser:
    parts = urlsplit(gateway.settings.issuer)
    return Browser(f"{parts.scheme}://{parts.netloc}")


async def submit(browser: Browser, page: Page, name: str, password: str = PASSWORD, *, follow: bool = True) -> Page:
    """Fill in Keycloak's own login form."""
    action = html.unescape(re.search(r'<form[^>]*action="([^"]+)"', page.body)[1])  # type: ignore[index]
    form = {"username": name, "password": password, "credentialId": ""}
    return await browser.open(urljoin(page.url, action), "POST", form, follow=follow)


async def sign_in(browser: Browser, gateway: SmallGateway, name: str) -> Page:
    return await submit(browser, await browser.open(f"{gateway.url}/auth/login?next=/secret"), name)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("alice", ["staff"]),
        ("carol", ["compliance", "staff"]),
        ("sam", ["security", "staff"]),
        ("ada", ["admin", "staff"]),
    ],
)
async def test_people_sign_in_with_the_roles_of_their_groups(
    gateway: SmallGateway, name: str, roles: list[str]
) -> None:
    async with new_browser(gateway) as browser:
        page = await sign_in(browser, gateway, name)
        me = await browser.me(gateway.url)
    assert page.url == f"{gateway.url}/secret"
    assert me["roles"] == roles
    assert me["groups"] == [f"/{role}" for role in roles] or set(me["groups"]) == {f"/{role}" for role in roles}
    assert me["name"].lower().startswith(name)
    (entry,) = gateway.log.entries
    assert (entry.kind.value, entry.subject) == ("login", me["subject"])


async def test_a_wrong_password_signs_nobody_in(gateway: SmallGateway) -> None:
    async with new_browser(gateway) as browser:
        page = await submit(browser, await browser.open(f"{gateway.url}/auth/login"), "sam", "wrong")
        assert page.url.startswith(gateway.settings.issuer)
        assert await browser.me(gateway.url) is None
    assert gateway.log.entries == []


async def test_a_person_in_no_group_gets_a_clear_page(gateway: SmallGateway, real_keycloak: Keycloak) -> None:
    subject = real_keycloak.new_user("norman", [])
    async with new_browser(gateway) as browser:
        page = await sign_in(browser, gateway, "norman")
        assert page.status == 403
        assert "no access" in page.body
        assert await browser.me(gateway.url) is None
        (entry,) = gateway.log.entries
        assert (entry.kind.value, entry.reason, entry.subject) == ("login.failed", "no_role", subject)
        other = re.search(r'href="(/auth/login\?other=1)"', page.body)
        assert other
        page = await browser.open(f"{gateway.url}{other[1]}")
        assert 'name="password"' in page.body, "Keycloak must ask again, although norman is still signed in there"


async def test_signing_out_ends_the_session_at_keycloak_too(gateway: SmallGateway, real_keycloak: Keycloak) -> None:
    real_keycloak.new_user("olga", ["/staff"])
    async with new_browser(gateway) as browser:
        await sign_in(browser, gateway, "olga")
        assert await asyncio.to_thread(real_keycloak.user_sessions, "olga") == 1
        page = await browser.open(f"{gateway.url}/auth/logout", "POST")
        assert page.url == f"{gateway.url}/auth/signed-out"
        assert await asyncio.to_thread(real_keycloak.user_sessions, "olga") == 0
        assert await browser.me(gateway.url) is None
        page = await browser.open(f"{gateway.url}/auth/login")
        assert 'name="password"' in page.body
    assert gateway.log.kinds() == ["login", "logout"]


async def changed_login(browser: Browser, gateway: SmallGateway, **changes: str) -> Page:
    """Sign in at Keycloak with a changed authorization request; stop before the callback."""
    page = await browser.open(f"{gateway.url}/auth/login?next=/secret", follow=False)
    parts = urlsplit(page.headers["location"])
    query = {**dict(parse_qsl(parts.query)), **changes}
    page = await browser.open(parts._replace(query=urlencode(query)).geturl())
    return await submit(browser, page, "alice", follow=False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": "somebody-elses"}, "id_token_claim_nonce"),
        ({"state": "s" * 43}, "state_mismatch"),
        ({"code_challenge": "c" * 43}, "code_refused"),
    ],
)
async def test_a_changed_request_is_noticed(gateway: SmallGateway, changes: dict[str, str], reason: str) -> None:
    async with new_browser(gateway) as browser:
        answer = await changed_login(browser, gateway, **changes)
        page = await browser.open(answer.headers["location"])
        assert page.status == 400
        assert await browser.me(gateway.url) is None
    assert [(entry.kind.value, entry.reason) for entry in gateway.log.entries] == [("login.failed", reason)]


async def test_a_code_of_another_sign_in_is_refused(gateway: SmallGateway) -> None:
    async with new_browser(gateway) as browser, new_browser(gateway) as other:
        mine = dict(parse_qsl(urlsplit((await changed_login(browser, gateway)).headers["location"]).query))
        theirs = dict(parse_qsl(urlsplit((await changed_login(other, gateway)).headers["location"]).query))
        page = await browser.open(f"{gateway.url}/auth/callback?{urlencode({**mine, 'code': theirs['code']})}")
    assert page.status == 400
    assert gateway.log.entries[-1].reason == "code_refused"


async def test_a_denied_sign_in_is_a_page(gateway: SmallGateway) -> None:
    async with new_browser(gateway) as browser:
        page = await browser.open(f"{gateway.url}/auth/login", follow=False)
        query = dict(parse_qsl(urlsplit(page.headers["location"]).query))
        parts = urlsplit(page.headers["location"])
        page = await browser.open(parts._replace(query=urlencode({**query, "prompt": "none"})).geturl())
    assert page.status == 400
    assert gateway.log.entries[-1].reason == "provider_login_required"


def machine_client(keycloak: Keycloak, name: str, audience: str | None) -> dict[str, str]:
    """Make a client that gets tokens by password, for this test alone; return what to send."""
    mappers: list[dict[str, Any]] = [
        {
            "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
            "config": {"claim.name": "groups", "full.path": "true", "access.token.claim": "true"},
        }
    ]  # fmt: skip
    if audience:
        mappers.append(
            {
                "name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
                "config": {"included.custom.audience": audience, "access.token.claim": "true"},
            }
        )  # fmt: skip
    client = {
        "clientId": name, "enabled": True, "publicClient": True, "directAccessGrantsEnabled": True,
        "standardFlowEnabled": False, "protocolMappers": mappers,
    }  # fmt: skip
    for old in keycloak.admin("GET", f"/clients?clientId={name}"):
        keycloak.admin("DELETE", f"/clients/{old['id']}")
    keycloak.admin("POST", "/clients", client)
    return {"grant_type": "password", "client_id": name, "scope": "openid", "username": "carol", "password": PASSWORD}


async def call(gateway: SmallGateway, token: str) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/auth/me", headers=headers) as answer:
        return answer.status, json.loads(await answer.text())


async def test_bearer_tokens_need_our_audience(gateway: SmallGateway, real_keycloak: Keycloak) -> None:
    for name, audience, expected in (("ours", "attest", 200), ("theirs", "payroll", 401), ("nobodys", None, 401)):
        form = await asyncio.to_thread(machine_client, real_keycloak, name, audience)
        tokens = await asyncio.to_thread(lambda form=form: real_keycloak.token("attest", **form))
        status, body = await call(gateway, tokens["access_token"])
        assert status == expected, name
        if status == 200:
            assert (sorted(body["roles"]), body["session"]) == (["compliance", "staff"], False)
            for kind in ("id_token", "refresh_token"):
                assert (await call(gateway, tokens[kind]))[0] == 401, kind
        else:
            assert "claim_aud" in body["detail"]


async def test_the_realm_gives_our_audience_and_azp_alone_is_not_enough(
    gateway: SmallGateway, real_keycloak: Keycloak
) -> None:
    client = real_keycloak.admin("GET", "/clients?clientId=attest")[0]
    path = f"/clients/{client['id']}"
    form = {
        "grant_type": "password", "client_id": "attest", "client_secret": CLIENT_SECRET, "username": "carol",
        "password": PASSWORD,
    }  # fmt: skip
    without = [each for each in client["protocolMappers"] if "audience" not in each["name"]]
    try:
        real_keycloak.admin("PUT", path, {**client, "directAccessGrantsEnabled": True})
        assert (await call(gateway, real_keycloak.token("attest", **form)["access_token"]))[0] == 200
        changed = {**client, "directAccessGrantsEnabled": True, "protocolMappers": without}
        real_keycloak.admin("PUT", path, changed)
        status, body = await call(gateway, real_keycloak.token("attest", **form)["access_token"])
        assert status == 401
        assert "claim_aud" in body["detail"]
    finally:
        real_keycloak.admin("PUT", path, client)
    after = real_keycloak.admin("GET", "/clients?clientId=attest")[0]
    assert len(after["protocolMappers"]) == len(client["protocolMappers"])


async def test_a_token_ends_when_it_says_so(
    gateway: SmallGateway, real_keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.auth.tokens.SKEW_S", 0)
    form = machine_client(real_keycloak, "short", "attest")
    client = real_keycloak.admin("GET", "/clients?clientId=short")[0]
    client["attributes"] = {**client.get("attributes", {}), "access.token.lifespan": "3"}
    real_keycloak.admin("PUT", f"/clients/{client['id']}", client)
    token = real_keycloak.token("attest", **form)["access_token"]
    assert (await call(gateway, token))[0] == 200
    await asyncio.sleep(4)
    status, body = await call(gateway, token)
    assert status == 401
    assert "expired" in body["detail"]


async def test_rotated_keys_are_followed(
    gateway: SmallGateway, real_keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "REFETCH_PAUSE_S", 0.0)
    form = machine_client(real_keycloak, "rotating", "attest")
    old = real_keycloak.token("attest", **form)["access_token"]
    assert (await call(gateway, old))[0] == 200
    await asyncio.to_thread(real_keycloak.rotate_keys)
    new = real_keycloak.token("attest", **form)["access_token"]
    assert (await call(gateway, new))[0] == 200
    async with new_browser(gateway) as browser:
        assert (await sign_in(browser, gateway, "alice")).url == f"{gateway.url}/secret"
    unseen = await asyncio.to_thread(lambda: real_keycloak.token("attest", **form)["access_token"])
    assert (await call(gateway, unseen))[0] == 200


async def test_the_provider_gone_is_said_plainly(tmp_path: Path) -> None:
    async with (
        small_gateway(tmp_path, oidc_issuer="http://127.0.0.1:1/realms/attest") as gateway,
        new_browser(gateway) as browser,
    ):
        page = await browser.open(f"{gateway.url}/auth/login")
        assert page.status == 503
        assert "登录服务" in page.body
        good_form = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.e30.AAAA"
        assert (await call(gateway, good_form))[0] == 503


def test_the_realm_file_holds_no_secret(real_keycloak: Keycloak) -> None:
    text = (Path(__file__).parents[3] / "deploy" / "keycloak" / "attest-realm.json").read_text()
    realm = json.loads(text)
    assert all("credentials" not in user for user in realm["users"])
    assert all(client["secret"].startswith("${") for client in realm["clients"])
    imported = real_keycloak.admin("GET", "/clients?clientId=attest")[0]
    assert imported["attributes"]["pkce.code.challenge.method"] == "S256"
    assert imported["directAccessGrantsEnabled"] is False
