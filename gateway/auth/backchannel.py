"""Back-channel logout: the provider itself tells us that a session of its own has ended.

OpenID Connect Back-Channel Logout 1.0. A logout token counts once, and not longer than it says; whatever is wrong with
one is answered alike, with 400.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from litestar import Request, Response, Router, post
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.ports import AuditUnavailableError
from gateway.auth.access import PUBLIC
from gateway.auth.provider import Provider
from gateway.auth.sealing import fingerprint
from gateway.auth.tokens import SKEW_S, TOKEN_LIMIT, TokenError, check_standard_claims, verify
from gateway.auth.trail import Trail
from gateway.ending import tables
from gateway.ending.endings import PROVIDER, Endings
from gateway.problems import AuditUnavailableProblemError, BadRequestError, TooLargeError

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LIVES_S = 600
"""A logout token without `exp` counts for this long after `iat`."""
REASON = "backchannel_logout"
_TYPES = (None, "jwt", "logout+jwt", "application/logout+jwt")
_ID_LIMIT = 255
_FORM_LIMIT = TOKEN_LIMIT + 1024

AnyRequest = Request[Any, Any, Any]


class Logout(msgspec.Struct, frozen=True):
    """What a logout token says."""

    subject: str
    provider_session: str
    jti: str
    expires_at: int


class LogoutTokens:
    """Checks logout tokens (section 2.6), and that each counts once."""

    def __init__(
        self,
        provider: Provider,
        client_id: str,
        unix_time: Callable[[], float] = time.time,
        subject_claim: str = "sub",
    ) -> None:
        self._provider = provider
        self._client_id = client_id
        self._subject_claim = subject_claim
        self._unix_time = unix_time

    async def check(self, token: str) -> Logout:
        """Return what a valid token says. Raises `TokenError`, `ProviderUnavailableError`."""
        now = int(self._unix_time())
        verified = await verify(token, self._provider)
        claims, typ = verified.claims, verified.header.typ
        if (typ.lower() if typ else None) not in _TYPES or claims.get("typ") not in (None, "Logout"):
            raise TokenError("type")
        # One of `sub` and `sid` may be missing, and older providers give no `exp`: the rest is checked as of any token.
        issued = claims.get("iat")
        if not isinstance(issued, int) or isinstance(issued, bool):
            raise TokenError("claim_iat")
        stated: dict[str, Any] = {"sub": "-", "exp": issued + LIVES_S} | {
            name: value for name, value in claims.items() if value is not None
        }
        check_standard_claims(stated, (await self._provider.metadata()).issuer, now)
        audience = claims.get("aud")
        if self._client_id not in ([audience] if isinstance(audience, str) else audience or []):
            raise TokenError("claim_aud")
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise TokenError("claim_events")
        if "nonce" in claims:
            raise TokenError("claim_nonce")
        subject, session, jti = (_text(claims, name) for name in (self._subject_claim, "sid", "jti"))
        if not (subject or session):
            raise TokenError("claim_sub")
        if not jti:
            raise TokenError("claim_jti")
        return Logout(subject, session, jti, min(int(stated["exp"]), now + LIVES_S) + SKEW_S + 1)

    async def use_in(self, connection: AsyncConnection, logout: Logout) -> None:
        """Note in an open transaction that a token was used. Raises `TokenError` when it was used before."""
        table, now = tables.logout_token, int(self._unix_time())
        try:
            await connection.execute(sa.delete(table).where(table.c.expires_at < now))
            values = {"jti_hash": fingerprint(logout.jti), "expires_at": logout.expires_at}
            await connection.execute(sa.insert(table).values(**values))
        except IntegrityError:
            raise TokenError("replayed") from None


class BackChannel:
    """The step behind the route."""

    def __init__(self, tokens: LogoutTokens, endings: Endings, trail: Trail) -> None:
        self._tokens = tokens
        self._endings = endings
        self._trail = trail

    async def logout(self, request: AnyRequest) -> Response[Any]:
        """End what the token names: one of the provider's sessions, or all of a person's."""
        try:
            logout = await self._tokens.check(await _token_of(request))
            await self._end(logout)
        except TokenError as error:
            await self._trail.token_refused(request, f"logout_{error.reason}")
            return _answer({"error": "invalid_request"}, 400)
        except AuditUnavailableError:
            raise AuditUnavailableProblemError("The logout cannot be recorded now.", retry_after=5) from None
        return _answer({}, 200)

    async def _end(self, logout: Logout) -> None:
        """End what was named, and use up the token with it: one that ended nothing can be sent again."""

        async def use(connection: AsyncConnection) -> None:
            await self._tokens.use_in(connection, logout)

        session, subject = logout.provider_session, logout.subject
        if session:
            await self._endings.end_provider_session(session, reason=REASON, subject=subject, first=use)
        else:
            await self._endings.end_sessions_of(subject, reason=REASON, by=PROVIDER, first=use)


def backchannel_router(steps: BackChannel) -> Router:
    """Return the handler; it is for the provider and so not part of the API's description."""

    @post("/backchannel-logout", **PUBLIC, include_in_schema=False, status_code=200)
    async def backchannel_logout(request: AnyRequest) -> Response[Any]:
        return await steps.logout(request)

    return Router("/auth", route_handlers=[backchannel_logout])


async def _token_of(request: AnyRequest) -> str:
    """Read the form: `logout_token`, once (section 2.5)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BadRequestError("Send the logout token in a form.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_LIMIT:
            raise TooLargeError("The logout token is too large.")
    pairs = [pair.partition(b"=") for pair in body.split(b"&")]
    tokens = [value for name, _, value in pairs if name == b"logout_token"]
    if len(tokens) != 1:
        raise BadRequestError("Send the logout token in a form.")
    return tokens[0].decode("ascii", errors="replace")


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > _ID_LIMIT:
        raise TokenError(f"claim_{name}")
    return value


def _answer(body: dict[str, str], status: int) -> Response[Any]:
    return Response(body, status_code=status, headers={"cache-control": "no-store"})
