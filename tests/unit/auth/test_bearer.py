import asyncio
import base64
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from gateway.auth.bearer import CACHE_ENTRIES, BearerTokens
from gateway.auth.introspection import Introspection
from gateway.auth.principal import Role
from gateway.auth.provider import REFETCH_PAUSE_S
from gateway.auth.roles import RoleMap
from gateway.auth.tokens import TOKEN_LIMIT, TokenError
from gateway.ending.ended import FORGOTTEN_S
from gateway.problems import ProviderUnavailableError
from gateway.settings import load
from tests.unit.auth.tokens_rig import ISSUER, Clock, Documents, access_claims, provider, rsa, sign

KEY = rsa()
OTHER = rsa("k2")
ROLES = RoleMap("groups", {"staff": "staff", "compliance": "compliance"})


def bearer(documents: Documents | None = None, unix_time: Any = time.time, clock: Clock | None = None) -> BearerTokens:
    asked = provider(documents or Documents(KEY), clock)
    return BearerTokens(asked, ROLES, "attest", Introspection(load(), asked), 60, unix_time)


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, signature])


async def reason(token: str, **how: Any) -> str:
    with pytest.raises(TokenError) as caught:
        await bearer(**how).principal(token)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


async def test_a_good_token_names_its_person() -> None:
    principal = await bearer().principal(sign(KEY, access_claims()))
    assert (principal.subject, principal.name, principal.session) == ("u-1", "Alice", False)
    assert principal.groups == ("/staff",)
    assert principal.roles == {Role.STAFF}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": ISSUER + "/"}, "claim_iss"),
        ({"iss": "https://evil.example"}, "claim_iss"),
        ({"iss": None}, "claim_iss"),
        ({"aud": "other"}, "claim_aud"),
        ({"aud": ["other"], "azp": "attest"}, "claim_aud"),
        ({"aud": None}, "claim_aud"),
        ({"aud": {"attest": 1}}, "claim_aud"),
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"exp": None}, "claim_exp"),
        ({"exp": "tomorrow"}, "claim_exp"),
        ({"nbf": int(time.time()) + 600}, "claim_nbf"),
        ({"iat": int(time.time()) + 600}, "claim_iat"),
        ({"sub": None}, "claim_sub"),
        ({"sub": ""}, "claim_sub"),
        ({"sub": 7}, "claim_sub"),
        ({"sub": "x" * 256}, "claim_sub"),
        ({"sub": "a\nb"}, "claim_sub"),
        ({"typ": "ID"}, "type"),
        ({"typ": "Refresh"}, "type"),
        ({"typ": None, "nonce": "n"}, "type"),
        ({"typ": None, "at_hash": "h"}, "type"),
        ({"sid": "s", "exp": int(time.time()) + FORGOTTEN_S + 600}, "lifetime"),
        ({"sid": "s", "iat": None}, "lifetime"),
    ],
)
async def test_wrong_claims_are_refused(changes: dict[str, Any], expected: str) -> None:
    assert await reason(sign(KEY, access_claims(**changes))) == expected


async def test_a_long_lived_token_that_names_no_session_counts() -> None:
    token = sign(KEY, access_claims(exp=int(time.time()) + 2 * FORGOTTEN_S))
    assert (await bearer().principal(token)).subject == "u-1"


async def test_a_text_audience_is_enough() -> None:
    assert (await bearer().principal(sign(KEY, access_claims(aud="attest")))).subject == "u-1"


@pytest.mark.parametrize("typ", ["logout+jwt", "secevent+jwt", "dpop+jwt"])
async def test_tokens_of_other_types_are_refused(typ: str) -> None:
    assert await reason(sign(KEY, access_claims(), typ=typ)) == "type"


async def test_an_at_jwt_may_carry_a_nonce() -> None:
    token = sign(KEY, access_claims(typ=None, nonce="n"), typ="at+jwt")
    assert (await bearer().principal(token)).subject == "u-1"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS512", "RS1", ""])
async def test_other_algorithms_are_refused(algorithm: str) -> None:
    assert await reason(unsigned({"alg": algorithm, "kid": "k1"}, access_claims())) == "algorithm"


async def test_the_public_key_is_no_hmac_secret() -> None:
    signed = unsigned({"alg": "HS256", "kid": "k1", "typ": "JWT"}, access_claims()).rstrip(".")
    mac = hmac.digest(KEY.as_pem(private=False), signed.encode(), "sha256")
    token = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert await reason(token) == "algorithm"


async def test_a_key_of_another_kind_does_not_fit() -> None:
    elliptic = ECKey.generate_key("P-256", {"kid": "k1"})
    token = jwt.encode({"alg": "ES256", "kid": "k1"}, access_claims(), elliptic, ["ES256"])
    assert await reason(token) == "unknown_key"


async def test_an_elliptic_key_is_accepted() -> None:
    elliptic = ECKey.generate_key("P-256", {"kid": "e1"})
    token = jwt.encode({"alg": "ES256", "kid": "e1"}, access_claims(), elliptic, ["ES256"])
    assert (await bearer(Documents(KEY, elliptic)).principal(token)).subject == "u-1"


async def test_a_foreign_signature_is_refused() -> None:
    forged = rsa("k1")
    assert await reason(sign(forged, access_claims())) == "signature"


async def test_a_key_in_the_token_itself_is_not_used() -> None:
    forged = rsa("k1")
    token = sign(forged, access_claims(), jwk=forged.as_dict(private=False))
    assert await reason(token) == "signature"


async def test_an_unknown_critical_header_is_refused() -> None:
    token = sign(KEY, access_claims(), crit=None)
    header = {"alg": "RS256", "kid": "k1", "crit": ["b65"], "b65": True}
    first = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    assert await reason(".".join([first, *token.split(".")[1:]])) == "signature"


async def test_without_a_key_id_the_choice_must_be_clear() -> None:
    token = sign(KEY, access_claims(), kid=None)
    assert (await bearer(Documents(KEY)).principal(token)).subject == "u-1"
    assert await reason(token, documents=Documents(KEY, OTHER)) == "unknown_key"


async def test_an_unknown_key_id_is_no_persons_fault_while_the_keys_cannot_be_fetched() -> None:
    documents, clock = Documents(KEY), Clock()
    tokens = bearer(documents, clock=clock)
    await tokens.principal(sign(KEY, access_claims()))
    documents.down = True
    clock.now += REFETCH_PAUSE_S
    with pytest.raises(ProviderUnavailableError):
        await tokens.principal(sign(OTHER, access_claims()))


async def test_an_unknown_key_id_is_refused() -> None:
    assert await reason(sign(KEY, access_claims(), kid="nobody")) == "unknown_key"


async def test_an_encryption_key_signs_nothing() -> None:
    signing = RSAKey.generate_key(2048, {"kid": "k3"})
    published = RSAKey.import_key(signing.as_dict(private=False), {"kid": "k3", "use": "enc"})
    assert await reason(sign(signing, access_claims()), documents=Documents(KEY, published)) == "unknown_key"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d",
        "é.b.c",
        "\x00.\x00.\x00",
        "e30.e30.",
        "bnVsbA.e30.x",
        "W10.e30.x",
        "\ud800.a.b",
    ],
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    assert await reason(token) in ("malformed", "algorithm")


async def test_a_huge_token_costs_nothing() -> None:
    documents = Documents(KEY)
    assert await reason("a" * (TOKEN_LIMIT + 1), documents=documents) == "too_large"
    assert documents.asked == []


async def test_deeply_nested_claims_are_refused() -> None:
    body = base64.urlsafe_b64encode(b"[" * 10_000).rstrip(b"=").decode()
    first = sign(KEY, access_claims()).partition(".")[0]
    assert await reason(f"{first}.{body}.AAAA") == "signature"


async def test_a_deeply_nested_header_is_refused() -> None:
    header = b'{"alg":"RS256","x":' + b"[" * 6000 + b"]" * 6000 + b"}"
    assert await reason(base64.urlsafe_b64encode(header).rstrip(b"=").decode() + ".e30.x") == "malformed"


async def test_a_verified_token_is_not_verified_twice_but_never_outlives_itself() -> None:
    now = int(time.time())
    clock = [float(now)]
    documents = Documents(KEY)
    tokens = bearer(documents, lambda: clock[0])
    token = sign(KEY, access_claims(exp=now + 50))
    first = await tokens.principal(token)
    documents.keys = [OTHER]
    assert await tokens.principal(token) is first
    clock[0] = now + 50 + 31
    with pytest.raises(TokenError) as caught:
        await tokens.principal(token)
    assert caught.value.reason == "expired"


async def test_the_cache_is_bounded() -> None:
    tokens = bearer()
    token = sign(KEY, access_claims())
    for number in range(CACHE_ENTRIES):
        tokens._known[str(number)] = None  # type: ignore[assignment]
    await tokens.principal(token)
    await asyncio.sleep(0)
    assert len(tokens._known) == CACHE_ENTRIES


async def test_the_token_of_an_open_stream_stays_in_the_cache_however_many_others_come() -> None:
    tokens = bearer()
    stream = (await tokens.principal(sign(KEY, access_claims(jti="stream")))).credential.id
    for number in range(CACHE_ENTRIES - 1):
        tokens._known[str(number)] = None  # type: ignore[assignment]
    assert await tokens.standing((stream,))
    for number in range(3):
        await tokens.principal(sign(KEY, access_claims(jti=str(number))))
        await asyncio.sleep(0)
    assert await tokens.standing((stream,))


async def test_no_key_can_be_had() -> None:
    documents = Documents(KEY)
    documents.down = True
    with pytest.raises(ProviderUnavailableError):
        await bearer(documents).principal(sign(KEY, access_claims()))
