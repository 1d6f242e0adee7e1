"""Authentication whole: what `create_app` plugs in."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from litestar import Router
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.ports import AuditLog
from gateway.auth.bearer import BearerTokens
from gateway.auth.development_provider.provider import DevelopmentProvider
from gateway.auth.middleware import AuthenticationMiddleware
from gateway.auth.oidc import OidcClient
from gateway.auth.provider import Provider, ProviderHttp
from gateway.auth.roles import RoleMap
from gateway.auth.routes import SignInRoutes, sign_in_router
from gateway.auth.session import Cookies, Sessions, SessionTimes, SignIns
from gateway.auth.trail import Trail
from gateway.problems import ProviderUnavailableError
from gateway.settings import Settings


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Authentication:
    """One middleware, a few routers, and a start and an end.

    `start()` before the first request and `close()` after the last; the provider itself is asked only when needed, so
    that the gateway starts while the provider is down.
    """

    def __init__(
        self,
        middleware: AuthenticationMiddleware,
        routes: tuple[Router, ...],
        provider: Provider,
        development_provider: DevelopmentProvider | None,
    ) -> None:
        self.middleware = middleware
        self.routes = routes
        self._provider = provider
        self._development_provider = development_provider

    @classmethod
    def from_settings(
        cls, settings: Settings, engine: AsyncEngine, audit: AuditLog, clock: Callable[[], datetime] = utc_now
    ) -> Self:
        """Put the parts together; raise `SettingsError` where the development provider may not run."""

        def unix_time() -> float:
            return clock().timestamp()

        roles = RoleMap.from_settings(settings)
        provider = Provider(settings.issuer, ProviderHttp(settings.oidc_ca_file), time.monotonic)
        cookies = Cookies.from_settings(settings)
        times = SessionTimes(idle=settings.session_idle_minutes * 60, lifetime=settings.session_lifetime_hours * 3600)
        sessions = Sessions(engine, roles, times, unix_time)
        bearer = BearerTokens(provider, roles, settings.oidc_audience or settings.oidc_client_id, unix_time)
        trail = Trail(audit, clock)
        steps = SignInRoutes(
            base_url=settings.base_url,
            oidc=OidcClient(settings, provider, roles, unix_time),
            sessions=sessions,
            sign_ins=SignIns(engine, unix_time),
            cookies=cookies,
            roles=roles,
            trail=trail,
        )
        development = DevelopmentProvider(settings) if settings.uses_development_provider else None
        return cls(
            AuthenticationMiddleware(bearer, sessions, cookies, settings.base_url, trail),
            (sign_in_router(steps), *((development.router(),) if development else ())),
            provider,
            development,
        )

    async def start(self) -> None:
        """Open the connections to the provider; make or load the development provider's keys."""
        if self._development_provider is not None:
            await self._development_provider.start()
        await self._provider.http.start()

    async def ready(self) -> bool:
        """Whether tokens can be checked now: keys are at hand, from the provider or kept while it is down."""
        try:
            return bool(await self._provider.keys(None))
        except ProviderUnavailableError:
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._provider.http.close()
