"""The development provider's OAuth side under arbitrary requests: an answer or an OAuth error, never anything else."""

import base64
from typing import Any

import pytest
from authlib.oauth2 import OAuth2Error
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt

from gateway.auth.development_provider.clients import Client
from gateway.auth.development_provider.people import PEOPLE, person
from gateway.auth.development_provider.server import DEV_TOKEN_CLIENT, DevelopmentServer, FormRequest
from tests.unit.auth.tokens_rig import rsa

ISSUER = "http://127.0.0.1:8080/dev-provider"
CALLBACK = "http://127.0.0.1:8080/auth/callback"
KEY = rsa("dev")
CLIENTS = (
    Client("attest", "", "authorization_code", (CALLBACK,), ("http://127.0.0.1:8080/auth/signed-out",)),
    Client(DEV_TOKEN_CLIENT, "the-secret", "client_credentials"),
)
SERVER = DevelopmentServer(ISSUER, "attest", CLIENTS, KEY)
GOOD = {
    "response_type": "code", "client_id": "attest", "redirect_uri": CALLBACK, "scope": "openid profile", "state": "s",
    "nonce": "n", "code_challenge": "c" * 43, "code_challenge_method": "S256",
}  # fmt: skip


def request(method: str, values: dict[str, str], authorization: str = "") -> FormRequest:
    headers = {"authorization": authorization} if authorization else {}
    return FormRequest(method, f"{ISSUER}/token", headers, values)


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


VALUES = st.sampled_from([
    "", "code", "attest", DEV_TOKEN_CLIENT, "authorization_code", "client_credentials", CALLBACK, "openid", "profile x",
    "S256", "plain", "c" * 43, "none", "login", "alice", "the-secret", "token id_token", "form_post", "\x00", "é", "{}",
    "https://evil.example", "a" * 500,
])  # fmt: skip
NAMES = st.sampled_from([
    *GOOD, "grant_type", "code", "code_verifier", "client_secret", "subject", "prompt", "response_mode", "max_age",
    "id_token_hint", "post_logout_redirect_uri", "ui_locales", "refresh_token",
])  # fmt: skip
FORMS = st.dictionaries(NAMES, VALUES, max_size=10)


@given(FORMS, st.one_of(st.just(""), st.text(max_size=20), st.just(basic(DEV_TOKEN_CLIENT, "the-secret"))))
def test_the_token_endpoint_always_answers(values: dict[str, str], authorization: str) -> None:
    answer = SERVER.exchange(request("POST", values, authorization))
    assert answer.status in (200, 400, 401)
    assert (answer.status == 200) == ("access_token" in answer.body)
    if answer.status == 200:
        assert authorization.startswith("Basic")
        assert values["grant_type"] == "client_credentials"


@given(FORMS, FORMS)
def test_the_authorization_endpoint_always_answers(base: dict[str, str], changes: dict[str, str]) -> None:
    asked = request("GET", {**GOOD, **base, **changes})
    refused: OAuth2Error | None = None
    try:
        grant = SERVER.asking(asked)
    except OAuth2Error as error:
        refused = error
    if refused is not None:
        assert getattr(refused, "redirect_uri", None) in (None, CALLBACK)
        return
    answer = SERVER.chosen(asked, grant, PEOPLE[0])
    assert dict(answer.headers)["Location"].startswith(CALLBACK + "?")


@given(FORMS)
def test_the_logout_endpoint_always_answers(values: dict[str, str]) -> None:
    answer = SERVER.leave(request("GET", values))
    assert answer is None or answer.status in (302, 400)


def test_a_header_that_cannot_be_read_is_refused() -> None:
    for header in ("Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), "Basic !!!", "Basic", "Bearer x"):
        assert SERVER.exchange(request("POST", {"grant_type": "client_credentials"}, header)).status in (400, 401)


def test_a_logout_needs_a_hint_to_lead_back() -> None:
    values = {"client_id": "attest", "post_logout_redirect_uri": "http://127.0.0.1:8080/auth/signed-out"}
    assert SERVER.leave(request("GET", values)) is None
    hint = jwt.encode({"alg": "RS256", "kid": "dev"}, {"iss": ISSUER, "aud": ["attest"], "exp": 1}, KEY, ["RS256"])
    answer = SERVER.leave(request("GET", {**values, "id_token_hint": hint}))
    assert answer is not None
    assert answer.status == 302
    evil = SERVER.leave(
        request("GET", {**values, "id_token_hint": hint, "post_logout_redirect_uri": "https://evil.example"})
    )
    assert evil is None


def test_a_dev_token_lives_twelve_hours_and_says_who() -> None:
    form = {"grant_type": "client_credentials", "subject": "sam"}
    answer = SERVER.exchange(request("POST", form, basic(DEV_TOKEN_CLIENT, "the-secret")))
    token: dict[str, Any] = answer.body
    claims = jwt.decode(token["access_token"], KEY, ["RS256"]).claims
    assert claims["exp"] - claims["iat"] == token["expires_in"] == 12 * 3600
    assert (claims["sub"], claims["groups"], claims["aud"]) == ("sam", ["staff", "security"], ["attest"])


def test_nobody_chosen_is_access_denied() -> None:
    asked = request("GET", GOOD)
    answer = SERVER.chosen(asked, SERVER.asking(asked), person("mallory"))
    assert "error=access_denied" in dict(answer.headers)["Location"]


@pytest.mark.parametrize(("name", "roles"), [("alice", 1), ("carol", 2), ("sam", 2), ("ada", 2)])
def test_the_demo_people(name: str, roles: int) -> None:
    found = person(name)
    assert found is not None
    assert len(found.groups) == roles
    assert "staff" in found.groups
