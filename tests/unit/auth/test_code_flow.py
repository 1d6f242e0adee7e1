"""The code flow with a provider that may say anything: what is sent, and every check of the id token."""

import base64
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.auth.oidc import Identity, OidcClient, Renewed, SignInError
from gateway.auth.pending import SignInUnderWay
from gateway.auth.provider import REFETCH_PAUSE_S, Answer
from gateway.auth.roles import RoleMap
from gateway.problems import ProviderUnavailableError
from gateway.settings import load
from tests.unit.auth.tokens_rig import ISSUER, Clock, Documents, provider, rsa, sign

KEY = rsa()
UNDER_WAY = SignInUnderWay(nonce="the-nonce", verifier="v" * 43, return_to="/")


class TokenEndpoint(Documents):
    """Answers the token and userinfo requests with what the test puts there."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self.answer = Answer(200, b"{}")
        self.userinfo = Answer(404, b"")
        self.sent: list[tuple[str, str, dict[str, str], str]] = []

    async def request(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, body: str | None = None
    ) -> Answer:
        self.sent.append((method, url, headers or {}, body or ""))
        return self.answer if url.endswith("/token") else self.userinfo


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {
        "iss": ISSUER, "sub": "u-1", "aud": "attest", "exp": now + 60, "iat": now, "nonce": "the-nonce",
        "groups": ["staff"],
    }  # fmt: skip
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def client(endpoint: TokenEndpoint, **settings: Any) -> OidcClient:
    chosen = load(**{"oidc_issuer": ISSUER, "public_url": "https://chat.example.org", **settings})
    return OidcClient(chosen, provider(endpoint), RoleMap.from_settings(chosen))


async def finish(id_claims: dict[str, Any], endpoint: Any = None) -> Identity:
    endpoint = endpoint or TokenEndpoint()
    tokens = {"id_token": sign(KEY, id_claims), "access_token": "at"}
    endpoint.answer = Answer(200, json.dumps(tokens).encode())
    return await client(endpoint).finish("code", None, UNDER_WAY)


def half_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()


async def test_the_request_carries_state_nonce_and_challenge() -> None:
    begun = await client(TokenEndpoint()).begin("/chat")
    query = {name: values[0] for name, values in parse_qs(urlsplit(begun.url).query).items()}
    challenge = (
        base64.urlsafe_b64encode(hashlib.sha256(begun.under_way.verifier.encode()).digest()).rstrip(b"=").decode()
    )
    assert query == {
        "client_id": "attest", "response_type": "code", "redirect_uri": "https://chat.example.org/auth/callback",
        "scope": "openid profile email", "state": begun.state, "nonce": begun.under_way.nonce,
        "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    again = await client(TokenEndpoint()).begin("/chat")
    assert {begun.state, begun.under_way.nonce, begun.under_way.verifier}.isdisjoint(
        {again.state, again.under_way.nonce, again.under_way.verifier}
    )


async def test_a_good_id_token_names_the_person() -> None:
    identity = await finish(claims(sid="s-1", at_hash=half_hash("at")))
    assert (identity.claims["sub"], identity.provider_session) == ("u-1", "s-1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": None}, "claim_nonce"),
        ({"nonce": "other"}, "claim_nonce"),
        ({"nonce": ["the-nonce"]}, "claim_nonce"),
        ({"iss": "https://evil.example"}, "claim_iss"),
        ({"aud": None}, "claim_aud"),
        ({"aud": "other"}, "claim_aud"),
        ({"aud": []}, "claim_aud"),
        ({"aud": ["attest", "other"]}, "claim_azp"),
        ({"aud": ["attest", "other"], "azp": "other"}, "claim_azp"),
        ({"azp": "other"}, "claim_azp"),
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"iat": None}, "claim_iat"),
        ({"iat": int(time.time()) + 600}, "claim_iat"),
        ({"nbf": int(time.time()) + 600}, "claim_nbf"),
        ({"sub": None}, "claim_sub"),
        ({"at_hash": half_hash("another")}, "claim_at_hash"),
        ({"typ": "Bearer"}, "type"),
        ({"typ": "Logout"}, "type"),
    ],
)
async def test_a_wrong_id_token_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SignInError) as caught:
        await finish(claims(**changes))
    assert caught.value.reason == f"id_token_{reason}"


async def test_several_audiences_are_fine_when_we_are_the_authorized_party() -> None:
    assert (await finish(claims(aud=["other", "attest"], azp="attest"))).claims["sub"] == "u-1"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(400, b'{"error":"invalid_grant"}'), "code_refused"),
        (Answer(401, b""), "code_refused"),
        (Answer(302, b""), "code_refused"),
        (Answer(200, b"{}"), "no_id_token"),
        (Answer(200, b'{"id_token": null}'), "no_id_token"),
        (Answer(200, b"<html>"), "no_id_token"),
        (Answer(200, b"\xff"), "no_id_token"),
        (Answer(200, b'{"id_token": "x"}'), "id_token_malformed"),
        (Answer(200, b'{"id_token": "eyJhbGciOiJub25lIn0.e30."}'), "id_token_algorithm"),
    ],
)
async def test_a_wrong_answer_is_refused(answer: Answer, reason: str) -> None:
    endpoint = TokenEndpoint()
    endpoint.answer = answer
    with pytest.raises(SignInError) as caught:
        await client(endpoint).finish("code", None, UNDER_WAY)
    assert caught.value.reason == reason


async def test_a_provider_in_trouble_is_not_the_persons_fault() -> None:
    endpoint = TokenEndpoint()
    endpoint.answer = Answer(502, b"")
    with pytest.raises(ProviderUnavailableError):
        await client(endpoint).finish("code", None, UNDER_WAY)


async def test_an_answer_of_another_provider_is_refused_before_anything_is_sent() -> None:
    endpoint = TokenEndpoint()
    with pytest.raises(SignInError, match="issuer_mismatch"):
        await client(endpoint).finish("code", "https://evil.example", UNDER_WAY)
    assert endpoint.sent == []


async def test_the_exchange_sends_verifier_and_secret_in_the_body_or_header() -> None:
    endpoint = TokenEndpoint()
    endpoint.answer = Answer(200, json.dumps({"id_token": sign(KEY, claims())}).encode())
    await client(endpoint, oidc_client_secret="s3cret").finish("the code&=", None, UNDER_WAY)
    method, url, headers, body = endpoint.sent[0]
    assert (method, url) == ("POST", f"{ISSUER}/token")
    form = {name: values[0] for name, values in parse_qs(body).items()}
    assert (form["code"], form["code_verifier"], form["grant_type"]) == ("the code&=", "v" * 43, "authorization_code")
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"attest:s3cret").decode()
    await client(endpoint).finish("c", None, UNDER_WAY)
    assert "Authorization" not in endpoint.sent[1][2]
    assert parse_qs(endpoint.sent[1][3])["client_id"] == ["attest"]


class WithUserinfo(TokenEndpoint):
    async def document(self, url: str, kind: type) -> Any:
        found = await super().document(url, kind)
        return found if isinstance(found, dict) else type(found)(
            **{name: getattr(found, name) for name in found.__struct_fields__} | {"userinfo_endpoint": f"{ISSUER}/me"}
        )  # fmt: skip


@pytest.mark.parametrize(
    ("userinfo", "groups"),
    [
        (Answer(200, b'{"sub":"u-1","groups":["compliance"]}'), ["compliance"]),
        (Answer(200, b'{"sub":"somebody-else","groups":["admin"]}'), None),
        (Answer(200, b'{"groups":["admin"]}'), None),
        (Answer(401, b'{"sub":"u-1","groups":["admin"]}'), None),
        (Answer(200, b"nonsense"), None),
    ],
)
async def test_groups_may_come_from_userinfo_of_the_same_person(userinfo: Answer, groups: list[str] | None) -> None:
    endpoint = WithUserinfo()
    endpoint.userinfo = userinfo
    identity = await finish(claims(groups=None), endpoint=endpoint)
    assert identity.claims.get("groups") == groups
    assert (identity.claims["sub"], identity.claims["iss"]) == ("u-1", ISSUER)


async def renew(userinfo: Answer, id_claims: dict[str, Any] | None, endpoint: Any = None) -> Renewed:
    endpoint = endpoint or WithUserinfo()
    endpoint.userinfo = userinfo
    id_token = {} if id_claims is None else {"id_token": sign(KEY, claims(nonce=None, **id_claims))}
    tokens = {"access_token": "at", "refresh_token": "next"} | id_token
    endpoint.answer = Answer(200, json.dumps(tokens).encode())
    return await client(endpoint).renew("first", "u-1")


NO_GROUPS = {"groups": None}


@pytest.mark.parametrize(
    ("id_claims", "userinfo", "said"),
    [
        ({}, Answer(500, b""), ["staff"]),
        (NO_GROUPS, Answer(200, b'{"sub":"u-1","groups":["audit"]}'), ["audit"]),
        (NO_GROUPS, Answer(200, b'{"sub":"u-1"}'), "no groups"),
        (NO_GROUPS, Answer(200, b'{"sub":"u-2","groups":["audit"]}'), "unheard"),
        (NO_GROUPS, Answer(401, b""), "unheard"),
        (NO_GROUPS, Answer(503, b""), "unheard"),
        (NO_GROUPS, Answer(200, b"<html>"), "unheard"),
        (None, Answer(200, b'{"sub":"u-1","groups":["audit"]}'), ["audit"]),
        (None, Answer(200, b'{"sub":"u-1"}'), "no groups"),
        (None, Answer(200, b'{"sub":"u-2"}'), "nothing"),
        (None, Answer(401, b""), "nothing"),
        (None, Answer(429, b""), "unheard"),
        (None, Answer(503, b""), "unheard"),
    ],
)
async def test_a_renewal_says_groups_none_nothing_or_must_be_asked_again(
    id_claims: dict[str, Any] | None, userinfo: Answer, said: Any
) -> None:
    renewed = await renew(userinfo, id_claims)
    assert renewed.refresh_token == "next", "whatever comes after it: the old one may be used up"
    if said == "unheard":
        assert renewed.claims is None
    elif said == "nothing":
        assert renewed.claims == {}
    else:
        assert renewed.claims
        assert renewed.claims.get("groups", "no groups") == said


async def test_a_provider_without_userinfo_says_all_in_the_id_token() -> None:
    renewed = await renew(Answer(404, b""), NO_GROUPS, endpoint=TokenEndpoint())
    assert renewed.claims is not None
    assert renewed.claims["sub"] == "u-1"
    assert (await renew(Answer(404, b""), None, endpoint=TokenEndpoint())).claims == {}


async def test_a_userinfo_endpoint_in_trouble_is_not_the_persons_fault() -> None:
    endpoint = WithUserinfo()
    endpoint.userinfo = Answer(503, b"")
    with pytest.raises(ProviderUnavailableError):
        await finish(claims(groups=None), endpoint=endpoint)


async def test_a_renewal_signed_with_a_key_that_cannot_be_looked_up_is_asked_again() -> None:
    endpoint, clock, new = TokenEndpoint(), Clock(), rsa("k2")
    chosen = load(oidc_issuer=ISSUER, public_url="https://chat.example.org")
    subject = OidcClient(chosen, provider(endpoint, clock), RoleMap.from_settings(chosen))
    tokens = {"access_token": "at", "refresh_token": "next", "id_token": sign(new, claims(nonce=None))}
    endpoint.answer = Answer(200, json.dumps(tokens).encode())
    await subject.provider.keys("k1")
    endpoint.keys = [KEY, new]
    clock.now += 1
    assert await subject.renew("first", "u-1") == Renewed(None, "next"), "the keys were fetched a moment ago"
    endpoint.down = True
    clock.now += REFETCH_PAUSE_S
    assert await subject.renew("first", "u-1") == Renewed(None, "next"), "their address does not answer"
    endpoint.down = False
    clock.now += REFETCH_PAUSE_S
    renewed = await subject.renew("next", "u-1")
    assert renewed.claims is not None
    tokens["id_token"] = sign(rsa("k3"), claims(nonce=None))
    endpoint.answer = Answer(200, json.dumps(tokens).encode())
    clock.now += REFETCH_PAUSE_S
    with pytest.raises(SignInError, match="id_token_unknown_key"):
        await subject.renew("next", "u-1")


async def test_a_provider_without_logout_has_no_logout_address() -> None:
    assert await client(TokenEndpoint()).end_session_url("t") is None
