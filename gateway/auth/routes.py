"""`/auth/*`: sign in, come back from the provider, sign out, and who am I."""

from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import structlog
from litestar import Request, Response, Router, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect
from sqlalchemy.exc import SQLAlchemyError

from gateway.auth.access import PUBLIC, open_to
from gateway.auth.oidc import OidcClient, SignInError
from gateway.auth.pages import Pages
from gateway.auth.pending import PENDING_S, SignIns
from gateway.auth.principal import OF_PEOPLE, Principal
from gateway.auth.return_path import safe_return_path
from gateway.auth.roles import RoleMap
from gateway.auth.sealing import looks_like_secret, new_secret
from gateway.auth.session import Cookies, Ended, Sessions
from gateway.auth.trail import Trail
from gateway.database import unreachable
from gateway.ending.ended import EndedAccess
from gateway.problems import AttestError, AuditUnavailableProblemError, DatabaseUnavailableError

_PROVIDER_ERRORS = frozenset(
    (
        "access_denied",
        "login_required",
        "interaction_required",
        "consent_required",
        "account_selection_required",
        "invalid_request",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_response_type",
    )
)
_CODE_LIMIT = 4096

AnyRequest = Request[Any, Any, Any]


class Me(msgspec.Struct, frozen=True):
    """The person behind the request."""

    subject: str
    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    session: bool


class SignInRoutes:
    """The steps behind the handlers, with everything that they need."""

    def __init__(
        self,
        *,
        base_url: str,
        oidc: OidcClient,
        sessions: Sessions,
        sign_ins: SignIns,
        cookies: Cookies,
        roles: RoleMap,
        trail: Trail,
        ended: EndedAccess,
    ) -> None:
        self._base_url = base_url
        self._oidc = oidc
        self._sessions = sessions
        self._sign_ins = sign_ins
        self._cookies = cookies
        self._roles = roles
        self._trail = trail
        self._ended = ended
        self._pages = Pages()

    async def login(self, request: AnyRequest) -> Response[Any]:
        """Send the browser to the provider."""
        return_to = safe_return_path(request.query_params.get("next"))
        other_account = "other" in request.query_params
        if self._elsewhere(request):
            query = urlencode({"next": return_to, "hop": "1"} | ({"other": "1"} if other_account else {}))
            return _see_other(f"{self._base_url}/auth/login?{query}")
        browser = request.cookies.get(self._cookies.sign_in, "")
        if not looks_like_secret(browser):
            browser = new_secret()
        try:
            begun = await self._oidc.begin(return_to, other_account=other_account)
            await self._sign_ins.keep(browser, begun.state, begun.under_way)
        except (AttestError, SQLAlchemyError, OSError) as error:
            return self._unavailable(request, error)
        response = _see_other(begun.url)
        response.set_cookie(self._cookies.make(self._cookies.sign_in, browser, max_age=PENDING_S))
        return response

    async def callback(self, request: AnyRequest) -> Response[Any]:
        """Finish the sign-in: check, record, and only then give out the session."""
        try:
            return await self._finish(request)
        except SignInError as error:
            return await self._refuse(request, error.reason)
        except (AttestError, SQLAlchemyError, OSError) as error:
            return self._unavailable(request, error)

    async def logout(self, request: AnyRequest) -> Response[Any]:
        """End the session here, then lead the browser on to end the provider's.

        A page that forwards, not a redirect: a page's `form-action` policy would stop a redirect to another host.
        """
        cookie = request.cookies.get(self._cookies.session, "")
        ended: Ended | None = None
        try:
            ended = await self._sessions.end(cookie)
        except (SQLAlchemyError, OSError) as error:
            return self._unavailable(request, error)
        if ended is not None:
            await self._trail.logout(request, ended.principal)
        url = await self._oidc.end_session_url(ended.id_token) if ended is not None else None
        drop = [self._cookies.drop(self._cookies.session)]
        language = request.headers.get("accept-language", "")
        if url is None:
            return self.signed_out(language, cookies=drop)
        return self._pages.message(language, "signing_out.title", "signing_out.text", forward=url, cookies=drop)

    def signed_out(self, accept_language: str, cookies: list[Any] | None = None) -> Response[str]:
        """Say that the session has ended."""
        return self._pages.message(accept_language, "signed_out.title", "signed_out.text", cookies=cookies)

    async def _finish(self, request: AnyRequest) -> Response[Any]:
        query = request.query_params
        browser = request.cookies.get(self._cookies.sign_in, "")
        under_way = await self._sign_ins.take(browser, query.get("state", ""))
        if under_way is None:
            raise SignInError("state_mismatch")
        if "error" in query:
            code = query["error"]
            raise SignInError(f"provider_{code}" if code in _PROVIDER_ERRORS else "provider_error")
        code = query.get("code", "")
        if not 0 < len(code) <= _CODE_LIMIT:
            raise SignInError("no_code")
        identity = await self._oidc.finish(code, query.get("iss"), under_way)
        principal = self._roles.principal(identity.claims, session=True)
        if not principal.roles:
            await self._trail.login_failed(request, "no_role", principal)
            return self._no_access(request, "no_role")
        await self._ended.refresh()
        if self._ended.disabled(principal.subject):
            await self._trail.login_failed(request, "access_ended", principal)
            return self._no_access(request, "ended")
        await self._trail.login(request, principal)
        replaces = request.cookies.get(self._cookies.session)
        secret = await self._sessions.open(
            principal,
            identity.provider_session,
            identity.id_token,
            replaces,
            identity.refresh_token,
            identity.lives_s,
        )
        response = _see_other(under_way.return_to)
        response.set_cookie(self._cookies.make(self._cookies.session, secret))
        return response

    async def _refuse(self, request: AnyRequest, reason: str) -> Response[Any]:
        try:
            await self._trail.login_failed(request, reason)
        except AuditUnavailableProblemError as error:
            return self._unavailable(request, error)
        structlog.get_logger("attest.auth").warning("login.failed", reason=reason)
        text = "failed.token"
        if reason in ("state_mismatch", "no_code", "code_refused"):
            text = "failed.expired"
        elif reason.startswith("provider_"):
            text = "failed.provider"
        status = 403 if reason == "provider_access_denied" else 400
        return self._pages.message(request.headers.get("accept-language", ""), "failed.title", text, status=status)

    def _no_access(self, request: AnyRequest, why: str) -> Response[str]:
        return self._pages.message(
            request.headers.get("accept-language", ""),
            f"{why}.title",
            f"{why}.text",
            status=403,
            link=("/auth/login?other=1", "other_account"),
        )

    def _unavailable(self, request: AnyRequest, error: Exception) -> Response[Any]:
        text = "unavailable.audit" if isinstance(error, AuditUnavailableProblemError) else "unavailable.provider"
        text = "unavailable.database" if isinstance(error, DatabaseUnavailableError) or unreachable(error) else text
        structlog.get_logger("attest.auth").warning("login.unavailable", error=type(error).__name__)
        response = self._pages.message(
            request.headers.get("accept-language", ""), "unavailable.title", text, status=503
        )
        response.headers["retry-after"] = "10"
        return response

    def _elsewhere(self, request: AnyRequest) -> bool:
        """Whether the browser is at another name of ours (localhost for 127.0.0.1): cookies would not come back.

        One hop only: behind a proxy that changes Host the names never agree.
        """
        host = request.headers.get("host", "").lower()
        return host != urlsplit(self._base_url).netloc.lower() and "hop" not in request.query_params


def _see_other(url: str) -> Redirect:
    return Redirect(url, status_code=303, headers={"cache-control": "no-store", "referrer-policy": "same-origin"})


def sign_in_router(steps: SignInRoutes) -> Router:
    """Return the handlers; the pages are for browsers and so not part of the API's description."""

    @get("/login", **PUBLIC, include_in_schema=False)
    async def login(request: AnyRequest) -> Response[Any]:
        return await steps.login(request)

    @get("/callback", **PUBLIC, include_in_schema=False)
    async def callback(request: AnyRequest) -> Response[Any]:
        return await steps.callback(request)

    @post("/logout", **PUBLIC, include_in_schema=False, status_code=200)
    async def logout(request: AnyRequest) -> Response[Any]:
        return await steps.logout(request)

    @get("/signed-out", **PUBLIC, include_in_schema=False)
    async def signed_out(request: AnyRequest) -> Response[Any]:
        return steps.signed_out(request.headers.get("accept-language", ""))

    @get("/me", **open_to(*OF_PEOPLE), summary="Who am I", operation_id="me")
    async def me(request: AnyRequest) -> Me:
        principal: Principal = request.user
        return Me(
            subject=principal.subject,
            name=principal.name,
            groups=principal.groups,
            roles=tuple(sorted(principal.roles)),
            session=principal.session,
        )

    handlers: list[HTTPRouteHandler] = [login, callback, logout, signed_out, me]
    return Router("/auth", route_handlers=handlers)
