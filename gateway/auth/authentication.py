"""Authentication whole: what `create_app` plugs in."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self

from litestar import Router
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor
from audit.keys import MasterKey
from audit.ports import AuditLog
from gateway.auth.backchannel import BackChannel, LogoutTokens, backchannel_router
from gateway.auth.bearer import BearerTokens
from gateway.auth.checks import SessionChecks
from gateway.auth.development_provider.provider import DevelopmentProvider
from gateway.auth.introspection import Introspection
from gateway.auth.middleware import Access, AuthenticationMiddleware
from gateway.auth.oidc import OidcClient
from gateway.auth.pending import SignIns
from gateway.auth.provider import Provider, ProviderHttp
from gateway.auth.roles import RoleMap
from gateway.auth.routes import SignInRoutes, sign_in_router
from gateway.auth.session import Cookies, Sessions, SessionTimes
from gateway.auth.trail import Trail
from gateway.ending.ended import EndedAccess
from gateway.ending.endings import Endings
from gateway.ending.watch import AccessWatch
from gateway.folding import fold_of
from gateway.keys.recognised import RecognisedKeys
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
        access: Access,
    ) -> None:
        self.middleware = middleware
        self.routes = routes
        self.watch = access.watch
        self.endings = access.endings
        self._provider = provider
        self._development_provider = development_provider
        self._access = access
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        engine: AsyncEngine,
        audit: AuditLog,
        master: MasterKey,
        clock: Callable[[], datetime] = utc_now,
    ) -> Self:
        """Put the parts together; raise `SettingsError` where the development provider may not run."""

        def unix_time() -> float:
            return clock().timestamp()

        roles = RoleMap.from_settings(settings)
        provider = Provider(settings.issuer, ProviderHttp(settings.oidc_ca_file), time.monotonic)
        oidc = OidcClient(settings, provider, roles, unix_time)
        cookies = Cookies.from_settings(settings)
        trail = Trail(audit, clock)
        access = _access(settings, engine, master, oidc, roles, unix_time)
        steps = SignInRoutes(
            base_url=settings.base_url,
            oidc=oidc,
            sessions=access.sessions,
            sign_ins=SignIns(engine, unix_time),
            cookies=cookies,
            roles=roles,
            trail=trail,
            ended=access.ended,
        )
        logout_tokens = LogoutTokens(provider, settings.oidc_client_id, unix_time, settings.oidc_subject_claim)
        back_channel = BackChannel(logout_tokens, access.endings, trail)
        development = DevelopmentProvider(settings) if settings.uses_development_provider else None
        return cls(
            AuthenticationMiddleware(access, cookies, settings.base_url, trail),
            (
                sign_in_router(steps),
                backchannel_router(back_channel),
                *((development.router(),) if development else ()),
            ),
            provider,
            development,
            access,
        )

    async def start(self) -> None:
        """Open the connections to the provider; make or load the development provider's keys."""
        if self._development_provider is not None:
            await self._development_provider.start()
        await self._provider.http.start()
        await self.watch.refresh()
        self._watching = asyncio.create_task(self.watch.run())

    async def ready(self) -> bool:
        """Whether tokens can be checked now: keys are at hand, from the provider or kept while it is down."""
        try:
            return bool(await self._provider.keys(None))
        except ProviderUnavailableError:
            return False

    async def close(self) -> None:
        """End the watch, wait for questions under way, close the connections."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._access.checks.close()
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._access.keys.write_uses()
        await self._provider.http.close()


def _access(
    settings: Settings,
    engine: AsyncEngine,
    master: MasterKey,
    oidc: OidcClient,
    roles: RoleMap,
    unix_time: Callable[[], float],
) -> Access:
    """Put together what says who may be let in, and until when."""
    interval_s = settings.access_check_s
    endings = Endings(Governor(engine), unix_time)
    key = master.derive("session-refresh-token")
    checks = SessionChecks(engine, oidc, roles, endings, key=key, interval_s=interval_s, unix_time=unix_time)
    times = SessionTimes(idle=settings.session_idle_minutes * 60, lifetime=settings.session_lifetime_hours * 3600)
    sessions = Sessions(engine, roles, times, unix_time, checks)
    audience = settings.oidc_audience or settings.oidc_client_id
    introspection = Introspection(settings, oidc.provider)
    bearer = BearerTokens(oidc.provider, roles, audience, introspection, interval_s, unix_time)
    ended = EndedAccess(engine, roles, interval_s, fold=fold_of(settings.scim_subject))
    keys = RecognisedKeys(engine, interval_s, unix_time=unix_time)
    watch = AccessWatch(ended, {"session": sessions, "token": bearer, "key": keys}, (keys,))
    return Access(sessions, bearer, keys, ended, endings, checks, watch)
