"""A provider without a socket: real keys and real signatures, only the HTTP is left out."""

import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import Key, KeySet, RSAKey

from gateway.auth.provider import Metadata, Provider
from gateway.problems import ProviderUnavailableError

ISSUER = "https://login.example.org/realms/attest"


class Documents:
    """Stands where `ProviderHttp` stands and answers from memory; counts what it is asked."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.down = False
        self.asked: list[str] = []

    async def document(self, url: str, kind: type) -> Any:
        self.asked.append(url)
        if self.down:
            raise ProviderUnavailableError
        if kind is Metadata:
            return Metadata(
                issuer=ISSUER,
                authorization_endpoint=f"{ISSUER}/auth",
                token_endpoint=f"{ISSUER}/token",
                jwks_uri=f"{ISSUER}/certs",
            )
        return dict(KeySet(self.keys).as_dict(private=False))

    @property
    def key_fetches(self) -> int:
        return sum(url.endswith("/certs") for url in self.asked)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rsa(kid: str = "k1", **parameters: Any) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", **parameters})


def provider(documents: Documents, clock: Clock | None = None) -> Provider:
    return Provider(ISSUER, documents, clock or Clock())  # type: ignore[arg-type]


def access_claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "u-1",
        "aud": ["account", "attest"],
        "azp": "other-client",
        "exp": now + 300,
        "iat": now,
        "typ": "Bearer",
        "name": "Alice",
        "groups": ["/staff"],
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def sign(key: RSAKey, claims: dict[str, Any], **header: Any) -> str:
    head = {"alg": "RS256", "kid": key.kid, "typ": "JWT", **header}
    return jwt.encode({k: v for k, v in head.items() if v is not None}, claims, key, [head["alg"]])
