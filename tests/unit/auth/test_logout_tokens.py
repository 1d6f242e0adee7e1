"""Logout tokens: every rule of OpenID Connect Back-Channel Logout 1.0, section 2.6."""

import time
from typing import Any

import pytest

from gateway.auth.backchannel import EVENT, LogoutTokens
from gateway.auth.tokens import TokenError
from tests.unit.auth.tokens_rig import ISSUER, Documents, provider, rsa, sign

KEY = rsa()
NOW = int(time.time())


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": ISSUER, "aud": "attest", "iat": NOW, "exp": NOW + 120, "jti": "j-1", "sub": "u-1", "sid": "s-1",
        "events": {EVENT: {}},
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


@pytest.fixture
def tokens() -> LogoutTokens:
    return LogoutTokens(provider(Documents(KEY)), "attest", lambda: NOW)


@pytest.mark.parametrize(
    ("changes", "header"),
    [({}, {}), ({}, {"typ": "logout+jwt"}), ({"typ": "Logout"}, {}), ({"sub": None}, {}), ({"sid": None}, {}),
     ({"aud": ["other", "attest"]}, {}), ({"exp": None}, {})],
)  # fmt: skip
async def test_a_good_one_names_person_or_session(
    tokens: LogoutTokens, changes: dict[str, Any], header: dict[str, Any]
) -> None:
    logout = await tokens.check(sign(KEY, claims(**changes), **header))
    expected = claims(**changes)
    assert (logout.subject, logout.provider_session) == (expected.get("sub", ""), expected.get("sid", ""))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://evil.example"}, "claim_iss"),
        ({"iss": None}, "claim_iss"),
        ({"aud": "other"}, "claim_aud"),
        ({"aud": None}, "claim_aud"),
        ({"iat": None}, "claim_iat"),
        ({"iat": NOW + 3600}, "claim_iat"),
        ({"iat": "now"}, "claim_iat"),
        ({"iat": NOW - 4000, "exp": None}, "expired"),
        ({"exp": NOW - 100}, "expired"),
        ({"events": None}, "claim_events"),
        ({"events": {}}, "claim_events"),
        ({"events": {EVENT: True}}, "claim_events"),
        ({"events": [EVENT]}, "claim_events"),
        ({"nonce": "n"}, "claim_nonce"),
        ({"sub": None, "sid": None}, "claim_sub"),
        ({"sid": 7}, "claim_sid"),
        ({"sid": "x" * 256}, "claim_sid"),
        ({"jti": None}, "claim_jti"),
        ({"typ": "Bearer"}, "type"),
        ({"typ": "ID"}, "type"),
    ],
)
async def test_a_wrong_one_is_refused(tokens: LogoutTokens, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        await tokens.check(sign(KEY, claims(**changes)))
    assert caught.value.reason == reason


async def test_another_key_or_type_is_refused(tokens: LogoutTokens) -> None:
    for token, reason in ((sign(rsa(), claims()), "signature"), (sign(KEY, claims(), typ="at+jwt"), "type")):
        with pytest.raises(TokenError) as caught:
            await tokens.check(token)
        assert caught.value.reason == reason
