"""Sign-in with OpenID Connect: authorization code with PKCE (RFC 7636), and RP-initiated logout.

OpenID Connect Core 1.0 sections 3.1 and 12; OAuth 2.0 Security Best Current Practice (RFC 9700).
"""

import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError

from gateway.auth.pending import SignInUnderWay
from gateway.auth.provider import Metadata, Provider
from gateway.auth.roles import RoleMap
from gateway.auth.sealing import new_secret
from gateway.auth.tokens import SKEW_S, TokenError, Verified, check_standard_claims, verify
from gateway.problems import ProviderUnavailableError
from gateway.settings import Settings

LIVES_S = 3600
"""How long a session lives that came without a refresh token, where the provider does not say how long, in seconds."""
_OK, _TOO_MANY, _SERVER_ERROR = 200, 429, 500


class SignInError(Exception):
    """A sign-in that came to nothing; `reason` is a stable code, recorded in the audit log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Begun(msgspec.Struct, frozen=True):
    """A sign-in just begun: where to send the browser, and what the callback needs."""

    url: str
    state: str
    under_way: SignInUnderWay


class Identity(msgspec.Struct, frozen=True):
    """Who the provider says it is: verified claims, and the id token for the later logout."""

    claims: dict[str, Any]
    id_token: str
    provider_session: str
    refresh_token: str = ""
    lives_s: int | None = None
    """How long the provider stands by it where there is no refresh token, in seconds."""


class Renewed(msgspec.Struct, frozen=True):
    """The provider still stands by a session: what it says of the person now, and the token for the next question.

    `claims` without groups say that the person has none: Keycloak leaves the claim out then. They are empty where the
    provider said nothing of the person, and None where it could not be heard, so that it must be asked again.
    """

    claims: dict[str, Any] | None
    refresh_token: str


class _TokenAnswer(msgspec.Struct, frozen=True):
    id_token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: int | None = None


class _TokenRefusal(msgspec.Struct, frozen=True):
    error: str = ""


class OidcClient:
    """The gateway as a client of one provider."""

    def __init__(
        self, settings: Settings, provider: Provider, roles: RoleMap, unix_time: Callable[[], float] = time.time
    ) -> None:
        self.provider = provider
        self._roles = roles
        self._unix_time = unix_time
        self._client_id = settings.oidc_client_id
        self._client_secret = settings.oidc_client_secret.get_secret_value()
        self._scopes = settings.oidc_scopes
        self._redirect_uri = f"{settings.base_url}/auth/callback"
        self._after_logout = f"{settings.base_url}/auth/signed-out"

    async def begin(self, return_to: str, *, other_account: bool = False) -> Begun:
        """Make state, nonce and verifier, and the address of the provider's login page.

        `other_account` makes the provider ask again, whoever is signed in there.
        """
        metadata = await self.provider.metadata()
        under_way = SignInUnderWay(nonce=new_secret(), verifier=new_secret(), return_to=return_to)
        state = new_secret()
        extra = {"prompt": "login"} if other_account else {}
        url = prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=self._client_id,
            response_type="code",
            redirect_uri=self._redirect_uri,
            scope=self._scopes,
            state=state,
            nonce=under_way.nonce,
            code_challenge=create_s256_code_challenge(under_way.verifier),  # type: ignore[no-untyped-call]
            code_challenge_method="S256",
            **extra,
        )
        return Begun(url=url, state=state, under_way=under_way)

    async def finish(self, code: str, issuer: str | None, under_way: SignInUnderWay) -> Identity:
        """Change the code for tokens and check them; raise `SignInError` or `ProviderUnavailableError`.

        `issuer` is the callback's `iss` parameter (RFC 9207), which tells providers apart.
        """
        metadata = await self.provider.metadata()
        if issuer != metadata.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            raise SignInError("issuer_mismatch")
        tokens = await self._exchange(metadata, code, under_way.verifier)
        try:
            verified = await verify(tokens.id_token, self.provider)
            self._check_id_token(verified, tokens.access_token, metadata.issuer, under_way.nonce)
            subject = self._roles.subject(verified.claims)
        except TokenError as error:
            raise SignInError(f"id_token_{error.reason}") from None
        said = await self._with_groups(metadata, tokens.access_token, verified.claims, subject)
        claims = verified.claims if said is None else said
        session = claims.get("sid")
        return Identity(
            claims,
            tokens.id_token,
            session if isinstance(session, str) else "",
            tokens.refresh_token,
            None if tokens.refresh_token else max(0, tokens.expires_in or LIVES_S),
        )

    async def renew(self, refresh_token: str, subject: str) -> Renewed:
        """Ask with a refresh token whether the provider still stands by a person's session.

        Raises `SignInError` when it does not (the person was disabled, the session ended), `ProviderUnavailableError`
        when it gave no answer. OIDC Core, section 12.
        """
        metadata = await self.provider.metadata()
        request = prepare_token_request("refresh_token", "", refresh_token=refresh_token)
        tokens = await self._ask_for_tokens(metadata, request, "refresh_refused")
        claims: dict[str, Any] | None
        try:
            claims = await self._said_now(metadata, tokens, subject)
        except ProviderUnavailableError:
            claims = None  # the old refresh token may be used up: the new one must be kept whatever comes after it
        return Renewed(claims, tokens.refresh_token or refresh_token)

    async def end_session_url(self, id_token: str) -> str | None:
        """Return where the browser ends the provider's session (RP-Initiated Logout 1.0), or None if it cannot."""
        try:
            endpoint = (await self.provider.metadata()).end_session_endpoint
        except ProviderUnavailableError:
            return None
        if not endpoint.startswith(("https://", "http://")):
            return None
        query = {"client_id": self._client_id, "post_logout_redirect_uri": self._after_logout}
        if id_token:
            query["id_token_hint"] = id_token
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def _exchange(self, metadata: Metadata, code: str, verifier: str) -> _TokenAnswer:
        request = prepare_token_request(
            "authorization_code", "", redirect_uri=self._redirect_uri, code=code, code_verifier=verifier
        )
        tokens = await self._ask_for_tokens(metadata, request, "code_refused")
        if not tokens.id_token:
            raise SignInError("no_id_token")
        return tokens

    async def _ask_for_tokens(self, metadata: Metadata, request: str, refused: str) -> _TokenAnswer:
        answer = await self.provider.ask_as_client(
            metadata.token_endpoint, request, self._client_id, self._client_secret
        )
        if answer.status == _OK:
            try:
                return msgspec.json.decode(answer.body, type=_TokenAnswer)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise SignInError("no_id_token") from None
        structlog.get_logger("attest.auth").warning(f"provider.{refused}", status=answer.status)
        # RFC 6749, section 5.2: only this says something about the person; the others are about ourselves.
        if answer.status >= _SERVER_ERROR or (refused == "refresh_refused" and _error(answer.body) != "invalid_grant"):
            raise ProviderUnavailableError
        raise SignInError(refused)

    async def _said_now(self, metadata: Metadata, tokens: _TokenAnswer, subject: str) -> dict[str, Any]:
        """Return what a renewal says of the person, as a new sign-in would; empty: nothing.

        Raises `SignInError`, and `ProviderUnavailableError` where the groups may be at an endpoint that did not answer.
        """
        claims: dict[str, Any] = {}
        if tokens.id_token:
            try:
                verified = await verify(tokens.id_token, self.provider)
                self._check_id_token(verified, tokens.access_token, metadata.issuer, None)
            except TokenError as error:
                raise SignInError(f"id_token_{error.reason}") from None
            claims = verified.claims
            if not self._roles.about(claims, subject):
                raise SignInError("other_person")
        said = await self._with_groups(metadata, tokens.access_token, claims, subject)
        if said is None and claims:
            raise ProviderUnavailableError
        return said or {}

    def _check_id_token(self, verified: Verified, access_token: str, issuer: str, nonce: str | None) -> None:
        """Check an id token; `nonce` is None for a renewed one, which need not repeat it (OIDC Core, section 12.2)."""
        now = int(self._unix_time())
        check_standard_claims(verified.claims, issuer, now)
        if verified.claims.get("typ") not in (None, "ID"):
            raise TokenError("type")
        claims = CodeIDToken(
            verified.claims,
            msgspec.structs.asdict(verified.header),
            options={
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": self._client_id},
            },
            params={"client_id": self._client_id, "access_token": access_token} | ({"nonce": nonce} if nonce else {}),
        )
        try:
            claims.validate(now=now, leeway=SKEW_S)
        except ExpiredTokenError:
            raise TokenError("expired") from None
        except ClaimError as error:
            raise TokenError(f"claim_{error.claim.split(',', maxsplit=1)[0]}") from None
        except (JoseError, TypeError, ValueError):
            raise TokenError("claims") from None
        if nonce is not None and not hmac.compare_digest(str(verified.claims.get("nonce")).encode(), nonce.encode()):
            raise TokenError("claim_nonce")

    async def _with_groups(
        self, metadata: Metadata, access_token: str, claims: dict[str, Any], subject: str
    ) -> dict[str, Any] | None:
        """Add what the userinfo endpoint says, where the provider keeps groups out of the id token (OIDC Core, 5.3).

        None: it was asked and said nothing of this person; an answer about somebody else counts as none. `claims` are
        empty where there is no id token. Raises `ProviderUnavailableError` where it is the endpoint that has trouble.
        """
        if self._roles.has_groups(claims) or not metadata.userinfo_endpoint or not access_token:
            return claims
        endpoint, headers = metadata.userinfo_endpoint, {"authorization": f"Bearer {access_token}"}
        answer = await self.provider.http.request("GET", endpoint, headers=headers)
        if answer.status >= _SERVER_ERROR or answer.status == _TOO_MANY:
            raise ProviderUnavailableError
        try:
            found = msgspec.json.decode(answer.body, type=dict[str, Any]) if answer.status == _OK else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        both = claims | found
        own = not claims or found.get("sub") == claims["sub"]
        return both if own and self._roles.about(both, subject) else None


def _error(body: bytes) -> str:
    """Return the error code of a refusal (RFC 6749, section 5.2)."""
    try:
        return msgspec.json.decode(body, type=_TokenRefusal).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
