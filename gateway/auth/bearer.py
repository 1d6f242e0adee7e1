"""Bearer tokens on the API: JWT access tokens (RFC 9068 and Keycloak's), checked against the provider's keys."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.auth.principal import Principal
from gateway.auth.provider import Provider
from gateway.auth.roles import RoleMap
from gateway.auth.tokens import TokenError, Verified, check_standard_claims, verify

CACHE_S = 60
"""A verified token is trusted for this long without a second look at its signature, and never beyond its `exp`."""
CACHE_ENTRIES = 4096
_ACCESS_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})


class BearerTokens:
    """Turns an access token into its principal; verified ones are kept briefly by their SHA-256."""

    def __init__(
        self, provider: Provider, roles: RoleMap, audience: str, unix_time: Callable[[], float] = time.time
    ) -> None:
        self._provider = provider
        self._roles = roles
        self._audience = audience
        self._unix_time = unix_time
        self._cache: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def principal(self, token: str) -> Principal:
        """Return the principal; raise `TokenError`, or `ProviderUnavailableError` when no key can be had."""
        key = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        now = self._unix_time()
        cached = self._cache.get(key)
        if cached is not None and now < cached[0]:
            self._cache.move_to_end(key)
            return cached[1]
        self._cache.pop(key, None)
        principal, expires = await self._check(token, now)
        self._cache[key] = (min(now + CACHE_S, expires), principal)
        while len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return principal

    async def _check(self, token: str, now: float) -> tuple[Principal, float]:
        verified = await verify(token, self._provider)
        issuer = (await self._provider.metadata()).issuer
        check_standard_claims(verified.claims, issuer, int(now))
        _check_is_access_token(verified)
        audience = verified.claims.get("aud")
        # Keycloak names the client in `azp`; only `aud` says for whom the token is meant.
        if self._audience not in ([audience] if isinstance(audience, str) else audience or []):
            raise TokenError("claim_aud")
        return self._roles.principal(verified.claims, session=False), float(verified.claims["exp"])


def _check_is_access_token(verified: Verified) -> None:
    """Refuse id, refresh and logout tokens: an id token carries our client id as its audience, too."""
    typ = verified.header.typ
    if (typ.lower() if typ else None) not in _ACCESS_TYPES:
        raise TokenError("type")
    kind = verified.claims.get("typ")  # Keycloak's own mark: Bearer, ID, Refresh, Logout
    explicit = kind == "Bearer" or (typ is not None and typ.lower().endswith("at+jwt"))
    if kind not in (None, "Bearer") or (not explicit and not _ID_TOKEN_CLAIMS.isdisjoint(verified.claims)):
        raise TokenError("type")
