"""Bearer tokens on the API: JWT access tokens (RFC 9068 and Keycloak's), checked against the provider's keys.

Where the provider offers introspection, it is asked about each of them as well.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import structlog

from gateway.auth.introspection import Introspection
from gateway.auth.principal import Credential, Principal
from gateway.auth.provider import Provider
from gateway.auth.roles import RoleMap
from gateway.auth.tokens import TokenError, Verified, check_standard_claims, verify
from gateway.ending.ended import FORGOTTEN_S
from gateway.problems import ProviderUnavailableError

CACHE_ENTRIES = 4096
_ACCESS_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash"})


class Known(msgspec.Struct, frozen=True):
    """A token that was checked."""

    token: str
    principal: Principal
    checked_at: float
    expires: float


class BearerTokens:
    """Turns an access token into its principal; checked ones are kept for an interval by their SHA-256.

    From half an interval on a token is checked again in the background; after a whole one, or when it expires, nobody
    is let in with it before that is done.
    """

    def __init__(
        self,
        provider: Provider,
        roles: RoleMap,
        audience: str,
        introspection: Introspection,
        interval_s: float,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._roles = roles
        self._audience = audience
        self._introspection = introspection
        self._interval_s = interval_s
        self._unix_time = unix_time
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._checking: dict[str, asyncio.Task[Known]] = {}

    async def principal(self, token: str) -> Principal:
        """Return the principal; raise `TokenError`, or `ProviderUnavailableError` when it cannot be checked."""
        key = hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
        now, known = self._unix_time(), self._known.get(key)
        if known is not None and now < min(known.checked_at + self._interval_s, known.expires):
            self._known.move_to_end(key)
            if now >= known.checked_at + self._interval_s / 2:
                self._check(key, token)
            return known.principal
        return (await asyncio.shield(self._check(key, token))).principal

    async def standing(self, ids: Collection[str]) -> dict[str, Principal]:
        """Return those of these tokens (by SHA-256) with which an open stream may go on.

        One that expired while the stream was open is not checked any more: it stands for the rest of its interval.
        """
        now, standing = self._unix_time(), {}
        for key in ids:
            known = self._known.get(key)
            if known is None or now >= known.checked_at + self._interval_s:
                continue
            if known.checked_at + self._interval_s / 2 <= now < known.expires:
                self._check(key, known.token)
            self._known.move_to_end(key)  # in use, though nobody sends it again
            standing[key] = known.principal
        return standing

    def _check(self, key: str, token: str) -> asyncio.Task[Known]:
        """Begin to check, or join whoever does; a token that does not pass is forgotten."""
        task = self._checking.get(key)
        if task is None:
            task = self._checking[key] = asyncio.create_task(self._checked(token, key))
            task.add_done_callback(lambda done: self._settle(key, done))
        return task

    def _settle(self, key: str, task: asyncio.Task[Known]) -> None:
        self._checking.pop(key, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._known[key] = task.result()
            self._known.move_to_end(key)
            while len(self._known) > CACHE_ENTRIES:
                self._known.popitem(last=False)
        elif isinstance(error, TokenError):
            self._known.pop(key, None)
        elif not isinstance(error, ProviderUnavailableError):
            structlog.get_logger("attest.auth").error("token.check_failed", error=type(error).__name__)

    async def _checked(self, token: str, key: str) -> Known:
        now = self._unix_time()
        verified = await verify(token, self._provider)
        claims = verified.claims
        issuer = (await self._provider.metadata()).issuer
        check_standard_claims(claims, issuer, int(now))
        _check_is_access_token(verified)
        audience = claims.get("aud")
        # Keycloak names the client in `azp`; only `aud` says for whom the token is meant.
        if self._audience not in ([audience] if isinstance(audience, str) else audience or []):
            raise TokenError("claim_aud")
        if await self._introspection.possible() and not await self._introspection.active(token):
            raise TokenError("inactive")
        credential = _credential(claims, key)
        principal = msgspec.structs.replace(self._roles.principal(claims, session=False), credential=credential)
        return Known(token, principal, now, float(claims["exp"]))


def _credential(claims: dict[str, Any], key: str) -> Credential:
    """Return what an ending would be about. Raises `TokenError` for a session's token that may outlive an ending."""
    session, issued = claims.get("sid"), claims.get("iat")
    issued_at = int(issued) if isinstance(issued, int | float) else 0
    named = session if isinstance(session, str) else ""
    if named and claims["exp"] - issued_at > FORGOTTEN_S:
        raise TokenError("lifetime")
    return Credential("token", key, issued_at, named)


def _check_is_access_token(verified: Verified) -> None:
    """Refuse id, refresh and logout tokens: an id token carries our client id as its audience, too."""
    typ = verified.header.typ
    if (typ.lower() if typ else None) not in _ACCESS_TYPES:
        raise TokenError("type")
    kind = verified.claims.get("typ")  # Keycloak's own mark: Bearer, ID, Refresh, Logout
    explicit = kind == "Bearer" or (typ is not None and typ.lower().endswith("at+jwt"))
    if kind not in (None, "Bearer") or (not explicit and not _ID_TOKEN_CLAIMS.isdisjoint(verified.claims)):
        raise TokenError("type")
