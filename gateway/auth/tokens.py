"""The checks that every signed token passes: size, form, algorithm, key, signature; then issuer and times.

RFC 7515, 7519, 8725. A token's error is a stable reason code, never the token's text.
"""

import base64
import binascii
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from gateway.auth.provider import Provider

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with a private key only: `none` and the symmetric HS family can never be accepted."""
TOKEN_LIMIT = 16 * 1024
"""Longest token, in characters."""
SKEW_S = 30
"""Clocks of provider and gateway may differ by this much, in seconds."""


class TokenError(Exception):
    """A token that cannot be accepted; `reason` is a stable code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Header(msgspec.Struct, frozen=True):
    """What is read of a token's header before its key is known."""

    alg: str
    kid: str | None = None
    typ: str | None = None


class Verified(msgspec.Struct, frozen=True):
    """Header and claims of a token whose signature is the provider's."""

    header: Header
    claims: dict[str, Any]


class _Registry(JWSRegistry):
    """Providers put more into a header than joserfc knows (certificates, nonces); `crit` is still obeyed."""

    max_header_length = 4096
    max_payload_length = TOKEN_LIMIT

    def __init__(self) -> None:
        super().__init__(algorithms=ALGORITHMS, strict_check_header=False)


async def verify(token: str, provider: Provider) -> Verified:
    """Check size, form, algorithm, key and signature; raise `TokenError`, or `ProviderUnavailableError`."""
    header = read_header(token)
    key = _fitting(await provider.keys(header.kid), header)
    try:
        claims = jwt.decode(token, key, registry=_Registry()).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        raise TokenError("signature") from None
    return Verified(header, claims)


def read_header(token: str) -> Header:
    """Return the header of a token in compact form, its algorithm allowed."""
    if len(token) > TOKEN_LIMIT:
        raise TokenError("too_large")
    if not token.isascii() or token.count(".") != 2:  # noqa: PLR2004 - header.claims.signature
        raise TokenError("malformed")
    try:
        encoded = token.partition(".")[0]
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        header = msgspec.json.decode(raw, type=Header)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        raise TokenError("malformed") from None
    if header.alg not in ALGORITHMS:
        raise TokenError("algorithm")
    return header


def check_standard_claims(claims: dict[str, Any], issuer: str, now: int) -> None:
    """Check `iss` exactly, `exp`, `nbf`, `iat` and that `sub` is a usable text."""
    registry = jwt.JWTClaimsRegistry(
        now=now,
        leeway=SKEW_S,
        iss={"essential": True, "value": issuer},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        registry.validate(claims)
    except ExpiredTokenError:
        raise TokenError("expired") from None
    except ClaimError as error:
        raise TokenError(f"claim_{error.claim.split(',', maxsplit=1)[0]}") from None
    if len(claims["sub"]) > 255 or any(ord(c) < 32 for c in claims["sub"]):  # noqa: PLR2004 - OIDC Core 2: at most 255
        raise TokenError("claim_sub")


def _fitting(keys: tuple[Key, ...], header: Header) -> Key:
    """Choose the key; without a `kid` only when there is no choice (OIDC Core, section 10.1)."""
    kind = "EC" if header.alg.startswith("ES") else "RSA"
    fitting = [key for key in keys if key.key_type == kind and key.get("alg") in (None, header.alg)]
    if len(fitting) != 1:
        raise TokenError("unknown_key")
    return fitting[0]
