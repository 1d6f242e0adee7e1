"""Sign-ins, refused sign-ins and tokens, and sign-outs in the audit log."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import structlog
from litestar.connection import ASGIConnection

from audit.ports import AuditLog, AuditUnavailableError
from audit.record import Entry, Kind, user_agent
from gateway.auth.principal import Principal
from gateway.problems import AuditUnavailableProblemError

ANONYMOUS = "anonymous"
FAILURES_A_MINUTE = 60
"""Refused sign-ins recorded one by one; the rest of a minute's flood is counted in the next record (`suppressed`)."""

Connection = ASGIConnection[Any, Any, Any, Any]


class Trail:
    """Writes the records; each is durable before the method returns."""

    def __init__(
        self, log: AuditLog, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._minute = 0
        self._in_minute = 0
        self._suppressed = 0

    async def login(self, connection: Connection, principal: Principal) -> None:
        """Record a sign-in; raise `AuditUnavailableProblemError` when it cannot be made durable: then no session."""
        await self._append(self._entry(Kind.LOGIN, connection, principal))

    async def logout(self, connection: Connection, principal: Principal) -> None:
        """Record a sign-out. It takes rights away and so never waits for the log: a failure is logged."""
        try:
            await self._append(self._entry(Kind.LOGOUT, connection, principal))
        except AuditUnavailableProblemError:
            structlog.get_logger("attest.auth").error("logout.unrecorded")

    async def login_failed(self, connection: Connection, reason: str, principal: Principal | None = None) -> None:
        """Record a refused sign-in with its reason code; anonymous floods are summed up."""
        await self._failed(connection, reason, principal, "page")

    async def token_refused(self, connection: Connection, reason: str) -> None:
        """Record a refused bearer token with its reason code; floods are summed up with those of sign-ins."""
        await self._failed(connection, reason, None, "api")

    async def _failed(self, connection: Connection, reason: str, principal: Principal | None, surface: str) -> None:
        if principal is None and not self._room():
            self._suppressed += 1
            return
        suppressed, self._suppressed = self._suppressed, 0
        try:
            entry = self._entry(Kind.LOGIN_FAILED, connection, principal, reason, suppressed)
            await self._append(msgspec.structs.replace(entry, surface=surface))
        except AuditUnavailableProblemError:
            self._suppressed += suppressed
            raise

    def _room(self) -> bool:
        minute = int(self._monotonic() // 60)
        if minute != self._minute:
            self._minute, self._in_minute = minute, 0
        self._in_minute += 1
        return self._in_minute <= FAILURES_A_MINUTE

    def _entry(
        self, kind: Kind, connection: Connection, principal: Principal | None, reason: str = "", suppressed: int = 0
    ) -> Entry:
        return Entry(
            kind=kind,
            at=self._clock(),
            subject=principal.subject if principal else ANONYMOUS,
            name=principal.name if principal else "",
            groups=principal.groups if principal else (),
            roles=tuple(sorted(principal.roles)) if principal else (),
            surface="page",
            source_ip=connection.client.host if connection.client else "",
            user_agent=user_agent(connection.headers.get("user-agent", "")),
            reason=reason,
            detail={"suppressed": suppressed} if suppressed else {},
        )

    async def _append(self, entry: Entry) -> None:
        try:
            await self._log.append(entry)
        except AuditUnavailableError:
            raise AuditUnavailableProblemError("The audit log cannot take the record of the sign-in.") from None
