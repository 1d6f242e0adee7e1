"""The identity provider as the gateway sees it: its metadata and signing keys, fetched over HTTP and cached.

OpenID Connect Discovery 1.0, RFC 7517. Whatever fails on the way becomes `ProviderUnavailableError`.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import aiohttp
import msgspec
import structlog
from authlib.oauth2.auth import ClientAuth
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet

from gateway.problems import ProviderUnavailableError

METADATA_FRESH_S = 3600.0
KEYS_FRESH_S = 600.0
KEYS_STALE_S = 24 * 3600.0
"""While the provider is down, tokens are still checked with keys of at most this age."""
REFETCH_PAUSE_S = 5.0
"""Shortest time between two fetches of the keys, so that tokens with invented key ids cannot drive a flood."""
FAILURE_PAUSE_S = 1.0
"""After a failed fetch the provider is left alone for this long."""
BODY_LIMIT = 512 * 1024
_NEW_KEY = "The key of this token cannot be looked up at the sign-in service now; try again shortly."
_TIMEOUT = aiohttp.ClientTimeout(total=8, connect=3)

_T = TypeVar("_T")


class Metadata(msgspec.Struct, frozen=True):
    """What the gateway reads of the provider's metadata."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    introspection_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer of the provider."""

    status: int
    body: bytes


class ProviderHttp:
    """HTTP to the provider, with the company's CA where one is set. Redirects are not followed."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> Self:
        """Open the connection pool."""
        tls = await asyncio.to_thread(ssl.create_default_context, cafile=self._ca_file)
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT, connector=aiohttp.TCPConnector(ssl=tls, limit=16), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def close(self) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, body: str | None = None
    ) -> Answer:
        """Send one request; raise `ProviderUnavailableError` when no complete answer under the size limit comes."""
        if self._session is None:
            raise ProviderUnavailableError
        try:
            async with self._session.request(
                method, url, headers={"accept": "application/json", **(headers or {})}, data=body, allow_redirects=False
            ) as response:
                content = await response.content.read(BODY_LIMIT + 1)
                while len(content) <= BODY_LIMIT and (more := await response.content.read(BODY_LIMIT)):
                    content += more
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            structlog.get_logger("attest.auth").warning("provider.unreachable", error=type(error).__name__)
            raise ProviderUnavailableError from None
        if len(content) > BODY_LIMIT:
            raise ProviderUnavailableError
        return Answer(response.status, content)

    async def document(self, url: str, kind: type[_T]) -> _T:
        """Return a JSON document, checked against its type."""
        answer = await self.request("GET", url)
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own word
            structlog.get_logger("attest.auth").warning("provider.refused", status=answer.status)
            raise ProviderUnavailableError
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            structlog.get_logger("attest.auth").warning("provider.document_malformed")
            raise ProviderUnavailableError from None


class Provider:
    """Metadata and keys of one issuer; rotated keys are followed."""

    def __init__(self, issuer: str, http: ProviderHttp, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.http = http
        self._issuer = issuer
        self._monotonic = monotonic
        self._metadata: Metadata | None = None
        self._metadata_at = 0.0
        self._keys: tuple[Key, ...] = ()
        self._keys_at = float("-inf")
        self._keys_tried_at = float("-inf")
        self._failed_at = float("-inf")
        self._lock = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """Return the provider's metadata, at most an hour old while the provider answers."""
        if self._metadata is not None and self._monotonic() - self._metadata_at < METADATA_FRESH_S:
            return self._metadata
        async with self._lock:
            return await self._fetch_metadata()

    async def keys(self, kid: str | None) -> tuple[Key, ...]:
        """Return the signing keys that `kid` names (all of them for None); an unknown one makes us ask again.

        No key: the provider has just said that it has no such key. While it does not answer, or was asked a moment ago,
        a key that is unknown may be a new one: raises `ProviderUnavailableError`.
        """
        asked_at = self._monotonic()
        found = self._find(kid)
        if found and asked_at - self._keys_at < KEYS_FRESH_S:
            return found
        async with self._lock:
            try:
                await self._fetch_keys(needed=not self._find(kid))
            except ProviderUnavailableError:
                if self._monotonic() - self._keys_at > KEYS_STALE_S:
                    raise
        found = self._find(kid)
        if not found and self._keys_at < asked_at:
            raise ProviderUnavailableError(_NEW_KEY, retry_after=int(REFETCH_PAUSE_S))
        return found

    async def ask_as_client(self, url: str, form: str, client_id: str, client_secret: str) -> Answer:
        """Send a form to an endpoint at which the client says who it is (RFC 6749, section 2.3)."""
        # In the form where that is taken: how a special character goes into a Basic header differs between servers.
        offered = (await self.metadata()).token_endpoint_auth_methods_supported
        method = "client_secret_post" if "client_secret_post" in offered else "client_secret_basic"
        client = ClientAuth(client_id, client_secret, method if client_secret else "none")
        headers = {"content-type": "application/x-www-form-urlencoded"}
        url, headers, form = client.prepare("POST", url, headers, form)  # type: ignore[no-untyped-call]
        return await self.http.request("POST", url, headers=headers, body=form)

    def _find(self, kid: str | None) -> tuple[Key, ...]:
        return self._keys if kid is None else tuple(key for key in self._keys if key.kid == kid)

    async def _fetch_metadata(self) -> Metadata:
        now = self._monotonic()
        if self._metadata is not None and now - self._metadata_at < METADATA_FRESH_S:
            return self._metadata
        try:
            fetched = await self._asking(f"{self._issuer}/.well-known/openid-configuration", Metadata)
            self._check(fetched)
        except ProviderUnavailableError:
            if self._metadata is None:
                raise
            return self._metadata
        self._metadata, self._metadata_at = fetched, now
        return fetched

    async def _fetch_keys(self, *, needed: bool) -> None:
        now = self._monotonic()
        fresh = now - self._keys_at < KEYS_FRESH_S
        if (fresh and not needed) or now - self._keys_tried_at < REFETCH_PAUSE_S:
            return
        metadata = await self._fetch_metadata()
        document = await self._asking(metadata.jwks_uri, dict)
        self._keys_tried_at = now
        self._keys, self._keys_at = _signing_keys(document), now

    async def _asking(self, url: str, kind: type[_T]) -> _T:
        if self._monotonic() - self._failed_at < FAILURE_PAUSE_S:
            raise ProviderUnavailableError
        try:
            return await self.http.document(url, kind)
        except ProviderUnavailableError:
            self._failed_at = self._monotonic()
            raise

    def _check(self, metadata: Metadata) -> None:
        """Discovery 1.0, section 4.3: the issuer must be the one asked for (a slash at its end may differ)."""
        urls = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        if metadata.issuer.rstrip("/") != self._issuer or not all(u.startswith(("https://", "http://")) for u in urls):
            structlog.get_logger("attest.auth").error("provider.metadata_wrong")
            raise ProviderUnavailableError("The sign-in service describes itself wrongly; tell your administrator.")


def _signing_keys(document: dict[str, object]) -> tuple[Key, ...]:
    """Import each usable key by itself: one that we cannot read must not hide the others (RFC 7517, section 5)."""
    entries = document.get("keys")
    keys: list[Key] = []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC"):
            continue
        try:
            keys += KeySet.import_key_set({"keys": [entry]}).keys
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    if not keys:
        raise ProviderUnavailableError("The sign-in service publishes no usable signing key.")
    return tuple(keys)
