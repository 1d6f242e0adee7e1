"""Who asks, put into `scope["user"]` before every handler; and the defence of cookie sessions against other sites."""

import hmac
from typing import Any

import msgspec
import structlog
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from gateway.auth.access import ACCESS, ANYONE, UNCHECKED, check_access
from gateway.auth.bearer import BearerTokens
from gateway.auth.checks import SessionChecks
from gateway.auth.principal import Principal
from gateway.auth.session import Cookies, Sessions
from gateway.auth.tokens import TokenError
from gateway.auth.trail import Trail
from gateway.ending.ended import EndedAccess
from gateway.ending.endings import Endings
from gateway.ending.watch import AccessWatch
from gateway.keys.key import PREFIX
from gateway.keys.recognised import RecognisedKeys
from gateway.problems import (
    AccessEndedError,
    AttestError,
    DatabaseUnavailableError,
    ForbiddenError,
    OtherPersonError,
    UnauthenticatedError,
)

PERSON_HEADER = "x-attest-person"
"""Whose page a request comes from (`Principal.digest`); only the scripts of our pages send it."""
_SAFE = ("GET", "HEAD", "OPTIONS")

Connection = ASGIConnection[Any, Any, Any, Any]


class Access(msgspec.Struct, frozen=True):
    """What says who may be let in, and until when."""

    sessions: Sessions
    bearer: BearerTokens
    keys: RecognisedKeys
    ended: EndedAccess
    endings: Endings
    checks: SessionChecks
    watch: AccessWatch


class AuthenticationMiddleware(ASGIMiddleware):
    """Reads `Authorization: Bearer` or the session's cookie; a bearer token counts alone where one is sent.

    A missing or unknown cookie leaves nobody signed in. A bad token is put on record and raises
    `UnauthenticatedError`, an unsafe request of a session from another site `ForbiddenError`, and a request from a page
    that was loaded by somebody else `OtherPersonError`.
    """

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, access: Access, cookies: Cookies, base_url: str, trail: Trail) -> None:
        self._bearer = access.bearer
        self._keys = access.keys
        self._trail = trail
        self._sessions = access.sessions
        self._ended = access.ended
        self._cookies = cookies
        self._origin = base_url.lower()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Identify, defend, check that the route is open to whoever it is, go on."""
        connection: Connection = ASGIConnection(scope)
        principal = await self._identify(connection)
        scope["user"], scope["auth"] = principal, None
        check_access(scope, principal)
        await next_app(scope, receive, send)

    async def _identify(self, connection: Connection) -> Principal | None:
        header = connection.headers.get("authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            if scheme.lower() == "bearer":
                return await self._from_token(token.strip(), connection)
        cookie = connection.cookies.get(self._cookies.session)
        if not cookie:
            return None
        principal = await self._from_cookie(cookie, connection.scope)
        if principal is not None:
            self._check_same_site(connection)
            _check_person(connection, principal)
        return principal

    async def _from_token(self, token: str, connection: Connection) -> Principal:
        try:
            recognised = self._keys if token.startswith(PREFIX) else self._bearer
            return self._ended.standing(await recognised.principal(token))
        except AccessEndedError:
            await self._trail.token_refused(connection, "access_ended")
            raise
        except TokenError as error:
            await self._trail.token_refused(connection, error.reason)
            raise UnauthenticatedError(f"The bearer token is not valid ({error.reason}); get a new one.") from None

    async def _from_cookie(self, cookie: str, scope: Scope) -> Principal | None:
        try:
            principal = await self._sessions.find(cookie)
            return None if principal is None else self._ended.standing(principal)
        except AccessEndedError:
            return None
        except (SQLAlchemyError, OSError, AttestError) as error:
            structlog.get_logger("attest.auth").error("session.unreadable", error=type(error).__name__)
            gone = DatabaseUnavailableError("Your session cannot be checked now; try again shortly.", retry_after=5)
            why = error if isinstance(error, AttestError) else gone
            if scope["route_handler"].opt.get(ACCESS) == (ANYONE,):
                scope["state"][UNCHECKED] = why
                return None
            raise why from None

    def _check_same_site(self, connection: Connection) -> None:
        """Let an unsafe request of a session pass only from our own pages.

        Browsers set Sec-Fetch-Site (on https and loopback) and Origin themselves; neither can be forged by a page. A
        client that sends none of them is no browser, and has bearer tokens.
        """
        scope = connection.scope
        if scope["type"] == ScopeType.HTTP and scope["method"] in _SAFE:
            return
        fetch_site = connection.headers.get("sec-fetch-site")
        origin = connection.headers.get("origin", "").lower()
        own = bool(origin) and (origin == self._origin or self._is_own_host(origin, connection))
        from_own_page = fetch_site == "same-origin" and (own or origin in ("", "null"))
        if not (own if fetch_site is None else from_own_page):
            raise ForbiddenError("This request did not come from our own pages; reload the page and try again.")

    def _is_own_host(self, origin: str, connection: Connection) -> bool:
        host = connection.headers.get("host", "").lower()
        return bool(host) and origin in (f"http://{host}", f"https://{host}")


def _check_person(connection: Connection, principal: Principal) -> None:
    """Refuse what a page sends that another person loaded: in another tab somebody signed out, and somebody else in."""
    page_of = connection.headers.get(PERSON_HEADER)
    if page_of is not None and not hmac.compare_digest(page_of.encode(), principal.digest.encode()):
        raise OtherPersonError("This page is another person's, and nothing was done: sign in again or reload it.")
