"""Whether the provider still stands by a bearer token: OAuth 2.0 Token Introspection (RFC 7662)."""

import msgspec
import structlog

from gateway.auth.provider import Provider
from gateway.problems import ProviderUnavailableError
from gateway.settings import Settings

_OK = 200


class _Introspected(msgspec.Struct, frozen=True):
    active: bool


class Introspection:
    """Asks the provider about tokens, where it offers that and we have a client secret to ask with."""

    def __init__(self, settings: Settings, provider: Provider) -> None:
        self._provider = provider
        self._client_id = settings.oidc_client_id
        self._client_secret = settings.oidc_client_secret.get_secret_value()
        self._wanted = settings.oidc_introspect

    async def possible(self) -> bool:
        """Whether a question would be answered. Raises `ProviderUnavailableError`."""
        return self._wanted and bool(self._client_secret and (await self._provider.metadata()).introspection_endpoint)

    async def active(self, token: str) -> bool:
        """Ask about one token. Raises `ProviderUnavailableError` when the answer is not one."""
        url = (await self._provider.metadata()).introspection_endpoint
        form = f"token={token}&token_type_hint=access_token"  # a checked JWT holds nothing that a form would escape
        answer = await self._provider.ask_as_client(url, form, self._client_id, self._client_secret)
        try:
            if answer.status == _OK:
                return msgspec.json.decode(answer.body, type=_Introspected).active
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        structlog.get_logger("attest.auth").warning("provider.introspection_refused", status=answer.status)
        raise ProviderUnavailableError
