"""A small real OpenID provider for development, under `/dev-provider` of the same server.

The gateway talks to it by HTTP as to any other. It runs on loopback only, for loopback only, and never in production.
"""

import asyncio
import ipaddress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.oauth2 import OAuth2Error
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from litestar import MediaType, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.response import Redirect

from gateway.auth.access import PUBLIC
from gateway.auth.development_provider.clients import SCOPES, Client
from gateway.auth.development_provider.files import dev_token_secret, signing_key
from gateway.auth.development_provider.people import PEOPLE, person
from gateway.auth.development_provider.server import DEV_TOKEN_CLIENT, DevelopmentServer, FormRequest
from gateway.auth.pages import Pages
from gateway.problems import BadRequestError, ForbiddenError, ProviderUnavailableError, UnauthenticatedError
from gateway.settings import LOOPBACK, Environment, Settings, SettingsError

PATH = "/dev-provider"
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_FORM_LIMIT = 16 * 1024

AnyRequest = Request[Any, Any, Any]


class DevelopmentProvider:
    """The provider: checked at once, its keys loaded by `start()`."""

    def __init__(self, settings: Settings) -> None:
        host = urlsplit(settings.base_url).hostname or ""
        if settings.env is Environment.PRODUCTION:
            raise SettingsError("The development provider refuses to run in production: set ATTEST_OIDC_ISSUER.")
        if settings.host not in LOOPBACK or host not in LOOPBACK:
            raise SettingsError(
                "The development provider runs on loopback only: set ATTEST_OIDC_ISSUER, "
                "or let ATTEST_HOST and ATTEST_PUBLIC_URL be loopback addresses."
            )
        self._settings = settings
        self._server: DevelopmentServer | None = None
        self._pages = Pages()

    async def start(self) -> None:
        """Load the keys from the data folder, made at first start."""
        settings = self._settings
        key = await asyncio.to_thread(signing_key, settings.data_dir)
        secret = await asyncio.to_thread(dev_token_secret, settings.data_dir)
        gateway = Client(
            client_id=settings.oidc_client_id,
            secret=settings.oidc_client_secret.get_secret_value(),
            grants=("authorization_code", "refresh_token"),
            redirect_uris=(f"{settings.base_url}/auth/callback",),
            post_logout_redirect_uris=(f"{settings.base_url}/auth/signed-out",),
        )
        dev_token = Client(client_id=DEV_TOKEN_CLIENT, secret=secret, grants=("client_credentials",))
        audience = settings.oidc_audience or settings.oidc_client_id
        self._server = DevelopmentServer(settings.issuer, audience, (gateway, dev_token), key)

    @property
    def server(self) -> DevelopmentServer:
        """The OAuth side; raises `ProviderUnavailableError` before `start()`."""
        if self._server is None:
            raise ProviderUnavailableError
        return self._server

    def router(self) -> Router:
        """Return the endpoints, closed to everything that is not this computer."""
        handlers = [
            self._discovery(),
            self._jwks(),
            *self._authorize(),
            self._token(),
            self._userinfo(),
            self._end_session(),
        ]
        return Router(PATH, route_handlers=handlers, guards=[loopback_only], include_in_schema=False)

    def _discovery(self) -> Any:
        @get("/.well-known/openid-configuration", **PUBLIC)
        async def discovery(request: AnyRequest) -> Response[dict[str, Any]]:  # noqa: ARG001 - Litestar wants no less
            issuer = self.server.issuer
            return Response(
                {
                    "issuer": issuer,
                    "authorization_endpoint": f"{issuer}/authorize",
                    "token_endpoint": f"{issuer}/token",
                    "jwks_uri": f"{issuer}/jwks",
                    "userinfo_endpoint": f"{issuer}/userinfo",
                    "end_session_endpoint": f"{issuer}/end-session",
                    "response_types_supported": ["code"],
                    "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
                    "code_challenge_methods_supported": ["S256"],
                    "scopes_supported": list(SCOPES),
                    "authorization_response_iss_parameter_supported": True,
                }
            )

        return discovery

    def _jwks(self) -> Any:
        @get("/jwks", **PUBLIC)
        async def jwks() -> Response[dict[str, Any]]:
            return Response(dict(KeySet([self.server.key]).as_dict(private=False)))

        return jwks

    def _authorize(self) -> tuple[Any, Any]:
        @get("/authorize", **PUBLIC)
        async def choose(request: AnyRequest) -> Response[Any]:
            asked = self._asked(request, _pairs(request.url.query))
            try:
                self.server.asking(asked)
            except OAuth2Error as error:
                return self._refused(request, error)
            return self._pages.render(
                "people.html",
                request.headers.get("accept-language", ""),
                people=PEOPLE,
                action=f"{PATH}/authorize?{urlencode(asked.args)}",
            )

        @post("/authorize", **PUBLIC, status_code=303)
        async def chosen(request: AnyRequest) -> Response[Any]:
            if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
                raise ForbiddenError("This form was not sent from the provider's own page.")
            who = person(_pairs(await _form(request)).get("person"))
            asked = self._asked(request, _pairs(request.url.query))
            try:
                grant = self.server.asking(asked)
            except OAuth2Error as error:
                return self._refused(request, error)
            answer = self.server.chosen(asked, grant, who)
            location = dict(answer.headers).get("Location")
            if location is None:
                return self._refused(request, None)
            return Redirect(_with_issuer(location, self.server.issuer), status_code=303, headers=_NO_STORE)

        return choose, chosen

    def _token(self) -> Any:
        @post("/token", **PUBLIC, status_code=200)
        async def token(request: AnyRequest) -> Response[Any]:
            asked = self._asked(request, _pairs(await _form(request)))
            answer = await asyncio.to_thread(self.server.exchange, asked)
            return Response(answer.body, status_code=answer.status, headers=_NO_STORE, media_type=MediaType.JSON)

        return token

    def _userinfo(self) -> Any:
        @get("/userinfo", **PUBLIC)
        async def userinfo(request: AnyRequest) -> Response[dict[str, Any]]:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            try:
                claims = jwt.decode(token.strip(), self.server.key, ["RS256"]).claims
                jwt.JWTClaimsRegistry(iss={"essential": True, "value": self.server.issuer}).validate(claims)
            except (JoseError, ValueError):
                claims = {}
            who = person(claims.get("sub")) if scheme.lower() == "bearer" else None
            if who is None:
                raise UnauthenticatedError("The access token is not valid.")
            return Response(self.server.claims(who), headers=_NO_STORE)

        return userinfo

    def _end_session(self) -> Any:
        @get("/end-session", **PUBLIC)
        async def end_session(request: AnyRequest) -> Response[Any]:
            asked = self._asked(request, _pairs(request.url.query))
            answer = self.server.leave(asked)
            location = dict(answer.headers).get("Location") if answer else None
            if location is not None:
                return Redirect(location, status_code=303, headers=_NO_STORE)
            language = request.headers.get("accept-language", "")
            return self._pages.message(language, "signed_out.title", "signed_out.text", link=("/", "to_start"))

        return end_session

    def _asked(self, request: AnyRequest, values: dict[str, str]) -> FormRequest:
        path = f"{self.server.issuer}{request.url.path.removeprefix(PATH)}"
        return FormRequest(request.method, path, request.headers, values)

    def _refused(self, request: AnyRequest, error: OAuth2Error | None) -> Response[Any]:
        """Send the error back to the client where its redirect address is known to be right, else show a page."""
        if error is not None and (redirect_uri := getattr(error, "redirect_uri", None)):
            query = {"error": error.error, "iss": self.server.issuer} | (
                {"state": error.state} if getattr(error, "state", None) else {}
            )
            return Redirect(f"{redirect_uri}?{urlencode(query)}", status_code=303, headers=_NO_STORE)
        language = request.headers.get("accept-language", "")
        return self._pages.message(language, "failed.title", "people.refused", status=400, link=("/", "to_start"))


def loopback_only(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:  # noqa: ARG001
    """Let in this computer alone: by address, by name (DNS rebinding), and never through a proxy."""
    client = connection.client.host if connection.client else ""
    try:
        near = ipaddress.ip_address(client).is_loopback
        name = urlsplit(f"//{connection.headers.get('host', '')}").hostname
    except ValueError:
        near, name = False, None
    forwarded = any(header in connection.headers for header in ("forwarded", "x-forwarded-for", "x-real-ip"))
    if not near or name not in LOOPBACK or forwarded:
        raise ForbiddenError("The development provider answers this computer only.")


async def _form(request: AnyRequest) -> str:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_LIMIT:
            raise BadRequestError("The form is too large.")
    return body.decode("ascii", errors="replace")


def _pairs(encoded: str) -> dict[str, str]:
    """Read a form; a parameter given twice makes the whole request invalid (RFC 6749, section 3.1)."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise BadRequestError("The form cannot be read.") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise BadRequestError("A parameter is given twice.")
    return values


def _with_issuer(location: str, issuer: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}{urlencode({'iss': issuer})}"
