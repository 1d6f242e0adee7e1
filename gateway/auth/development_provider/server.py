"""The development provider's OAuth side, on Authlib's framework-free authorization server.

Grants: authorization code with PKCE S256 and refresh tokens (for the gateway), and client credentials with a `subject`
(for `attest dev-token`). Codes live in this process for a minute and are used once; refresh tokens are signed and carry
all they say, so that sessions outlive a restart.
"""

# Authlib asks for its own model classes where any object with their methods will do, and half of it has no types.
# mypy: disable-error-code="override,union-attr,arg-type,no-untyped-call"

import secrets
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidRequestError, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from authlib.oidc.rpinitiated import EndSessionEndpoint, EndSessionRequest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from gateway.auth.development_provider.clients import SCOPES, Client, Code, Refresh
from gateway.auth.development_provider.people import Person, person

CODE_S = 60
TOKEN_S = 3600
DEV_TOKEN_S = 12 * 3600
REFRESH_S = 24 * 3600
DEV_TOKEN_CLIENT = "attest-dev-token"  # noqa: S105 - a client's name
_CODE_LIMIT = 1000


class Answer(msgspec.Struct, frozen=True):
    """What Authlib wants answered."""

    status: int
    body: Any
    headers: list[tuple[str, str]]


class FormRequest(OAuth2Request):
    """One request as Authlib reads it: query of the authorization endpoint, form of the others."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str], values: dict[str, str]) -> None:
        super().__init__(method, url, headers={"Authorization": headers.get("authorization", "")})
        self.payload = BasicOAuth2Payload(values)
        self._values = values

    @property
    def args(self) -> dict[str, str]:
        """The parameters."""
        return self._values

    @property
    def form(self) -> dict[str, str]:
        """The parameters."""
        return self._values


class DevelopmentServer(AuthorizationServer):
    """Clients, codes and keys of the development provider."""

    def __init__(self, issuer: str, audience: str, clients: tuple[Client, ...], key: RSAKey) -> None:
        super().__init__(scopes_supported=list(SCOPES))
        self.issuer = issuer
        self.audience = audience
        self.key = key
        self._clients = {client.client_id: client for client in clients}
        self._codes: dict[str, Code] = {}
        self.register_token_generator("default", self._token)
        self.register_grant(_CodeGrant, [_Pkce(required=True), _IdToken(self)])
        self.register_grant(_SubjectGrant)
        self.register_grant(_RefreshGrant)
        self.register_endpoint(_EndSession)

    def query_client(self, client_id: str) -> Client | None:
        """Return one of the two clients."""
        return self._clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Nothing to keep: tokens are signed and carry all they say."""

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: FormRequest) -> FormRequest:
        """Return the request, which already is in Authlib's form."""
        return request

    def handle_response(self, status: int, body: object, headers: list[tuple[str, str]]) -> Answer:
        """Return the answer as a value."""
        return Answer(status, body, headers)

    def asking(self, request: FormRequest) -> AuthorizationCodeGrant:
        """Check an authorization request before anyone chooses; raise `OAuth2Error`."""
        try:
            return cast("AuthorizationCodeGrant", self.get_consent_grant(request))
        except ValueError:  # Authlib refuses to quote what cannot stand in its error message
            raise InvalidRequestError from None

    def chosen(self, request: FormRequest, grant: AuthorizationCodeGrant, who: Person | None) -> Answer:
        """Answer an authorization request for the person chosen."""
        return cast("Answer", self.create_authorization_response(request, grant_user=who, grant=grant))

    def exchange(self, request: FormRequest) -> Answer:
        """Answer a token request."""
        try:
            return cast("Answer", self.create_token_response(request))
        except ValueError:
            return Answer(400, {"error": "invalid_request"}, [])

    def leave(self, request: FormRequest) -> Answer | None:
        """Answer a logout request; None when there is nowhere to go back to."""
        try:
            return cast("Answer | None", self.create_endpoint_response("end_session", request))
        except ValueError:
            return None

    def keep_code(self, code: Code) -> None:
        """Keep a code for its minute; the oldest go first where there are too many."""
        now = time.monotonic()
        self._codes = {name: kept for name, kept in self._codes.items() if kept.expires > now}
        while len(self._codes) >= _CODE_LIMIT:
            del self._codes[next(iter(self._codes))]
        self._codes[code.code] = code

    def take_code(self, code: str, client_id: str) -> Code | None:
        """Take a code out: whatever happens next, it is used."""
        kept = self._codes.pop(code, None)
        return kept if kept and kept.client_id == client_id and kept.expires > time.monotonic() else None

    def claims(self, who: Person) -> dict[str, Any]:
        """Return what tokens say about a person."""
        return {
            "sub": who.subject,
            "name": who.name,
            "preferred_username": who.subject,
            "email": f"{who.subject}@attest.example",
            "groups": list(who.groups),
        }

    def _token(self, *, grant_type: str, client: Client, user: Person, scope: str, **_: object) -> dict[str, Any]:
        now = int(time.time())
        lifetime = DEV_TOKEN_S if grant_type == "client_credentials" else TOKEN_S
        claims = self.claims(user) | {
            "iss": self.issuer,
            "aud": [self.audience],
            "azp": client.client_id,
            "iat": now,
            "exp": now + lifetime,
            "jti": secrets.token_urlsafe(16),
            "scope": scope or "",
        }
        header = {"alg": "RS256", "kid": self.key.kid, "typ": "at+jwt"}
        token = jwt.encode(header, claims, self.key, ["RS256"])
        answer = {"token_type": "Bearer", "access_token": token, "expires_in": lifetime, "scope": scope or ""}
        if "refresh_token" in client.grants:
            answer["refresh_token"] = self._refresh_token(client, user, scope or "", now)
        return answer

    def _refresh_token(self, client: Client, user: Person, scope: str, now: int) -> str:
        # An issuer of its own: nobody takes it for an access token.
        claims = {
            "iss": f"{self.issuer}/refresh",
            "sub": user.subject,
            "azp": client.client_id,
            "scope": scope,
            "iat": now,
            "exp": now + REFRESH_S,
            "jti": secrets.token_urlsafe(16),
        }
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, "typ": "refresh+jwt"}, claims, self.key, ["RS256"])

    def refresh(self, token: str) -> Refresh | None:
        """Return what a refresh token of ours says, or None."""
        try:
            claims = jwt.decode(token, self.key, ["RS256"]).claims
            issuer = {"essential": True, "value": f"{self.issuer}/refresh"}
            jwt.JWTClaimsRegistry(iss=issuer, exp={"essential": True}).validate(claims)
        except (JoseError, ValueError):
            return None
        return Refresh(subject=claims["sub"], client_id=claims["azp"], scope=claims["scope"])


class _CodeGrant(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["none", "client_secret_basic", "client_secret_post"]  # noqa: RUF012 - Authlib's form

    def save_authorization_code(self, code: str, request: FormRequest) -> None:
        values = request.form
        self.server.keep_code(
            Code(
                code=code,
                client_id=request.client.client_id,
                redirect_uri=values["redirect_uri"],
                scope=request.scope,
                nonce=values.get("nonce", ""),
                code_challenge=values["code_challenge"],
                code_challenge_method=values["code_challenge_method"],
                subject=request.user.subject,
                auth_time=int(time.time()),
                expires=time.monotonic() + CODE_S,
            )
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        found: Code | None = self.server.take_code(code, client.client_id)
        return found

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Already taken out."""

    def authenticate_user(self, authorization_code: Code) -> Person | None:
        return person(authorization_code.subject)


class _Pkce(CodeChallenge):
    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 - Authlib's form

    def validate_code_challenge(self, grant: AuthorizationCodeGrant, redirect_uri: str) -> None:
        values = grant.request.form
        if not values.get("code_challenge") or values.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with S256 is required")
        super().validate_code_challenge(grant, redirect_uri)


class _IdToken(OpenIDCode):
    def __init__(self, server: DevelopmentServer) -> None:
        super().__init__(require_nonce=True)
        self._server = server

    def exists_nonce(self, nonce: str, request: FormRequest) -> bool:  # noqa: ARG002 - Authlib's signature
        return False  # the gateway's nonce is random and bound to its own sign-in

    def resolve_client_private_key(self, client: Client) -> RSAKey:  # noqa: ARG002 - Authlib's signature
        return self._server.key

    def get_encode_header(self, client: Client) -> dict[str, str | None]:  # noqa: ARG002 - Authlib's signature
        return {"alg": "RS256", "kid": self._server.key.kid}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        return {"iss": self._server.issuer, "aud": [client.client_id], "azp": client.client_id}

    def generate_user_info(self, user: Person, scope: str) -> dict[str, Any]:  # noqa: ARG002 - Authlib's signature
        return self._server.claims(user)


class _SubjectGrant(ClientCredentialsGrant):
    """A token for the person named by `subject`, for the client that can read the data folder."""

    def validate_token_request(self) -> None:
        super().validate_token_request()
        self.request.user = person(self.request.form.get("subject"))
        if self.request.user is None:
            raise InvalidRequestError("There is no such demo person")

    def generate_token(self, **values: object) -> dict[str, Any]:
        token: dict[str, Any] = super().generate_token(**{**values, "user": self.request.user})
        return token


class _RefreshGrant(RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["none", "client_secret_basic", "client_secret_post"]  # noqa: RUF012 - Authlib's form

    def authenticate_refresh_token(self, refresh_token: str) -> Refresh | None:
        found: Refresh | None = self.server.refresh(refresh_token)
        return found

    def authenticate_user(self, refresh_token: Refresh) -> Person | None:
        return person(refresh_token.subject)

    def revoke_old_credential(self, refresh_token: Refresh) -> None:
        """Nothing is kept: the old one ends by its time."""


class _EndSession(EndSessionEndpoint):
    def get_server_jwks(self) -> KeySet:
        return KeySet([self.server.key])

    def get_algorithms(self) -> list[str]:
        return ["RS256"]

    def end_session(self, end_session_request: EndSessionRequest) -> None:
        """Nothing to end: this provider asks at every sign-in who it is."""
