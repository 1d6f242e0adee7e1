"""Whatever a recorded route refuses becomes `access.denied`, durable before the refusal is answered.

A middleware outside of authentication, so that it also sees who was not let in at all.
"""

import re
import time
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from audit.record import Kind
from gateway.auth.access import RECORDED
from gateway.http.chat_types import CONVERSATION_ID
from gateway.http.errors import REFUSED_AS
from gateway.inquiry.officer import AccessRecords, Detail, Officer, access_entry
from gateway.problems import AttestError

NOBODYS_A_MINUTE = 60
"""Refusals of people who are not signed in, recorded one by one; the rest of a minute's flood is counted in the next
record (`suppressed`)."""
ANSWERED = "attest_access_recorded"
"""Key in the scope's state: the access stands in the log already."""
_ID = re.compile(CONVERSATION_ID)


class RefusalRecords(ASGIMiddleware):
    """Records refusals of the routes that ask for it (`recorded_for`, `own_only`)."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, records: AccessRecords, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._monotonic = monotonic
        self._minute, self._in_minute, self._suppressed = 0, 0, 0

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on; record before a refusal goes out."""
        refused = scope["route_handler"].opt.get(RECORDED)
        if not refused:
            await next_app(scope, receive, send)
            return
        recorded = False

        async def record(status: int, reason: str) -> None:
            nonlocal recorded
            if status in refused and not recorded and not scope["state"].get(ANSWERED):
                recorded = True
                await self._record(scope, status, reason)

        async def recording_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await record(message["status"], scope["state"].get(REFUSED_AS, "refused"))
            await send(message)

        try:
            await next_app(scope, receive, recording_send)
        except AttestError as error:
            await record(error.status, error.code)
            raise
        except HTTPException as error:
            await record(error.status_code, "refused")
            raise

    async def _record(self, scope: Scope, status: int, reason: str) -> None:
        connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
        officer = officer_of(connection)
        if officer.principal is None and not self._room():
            self._suppressed += 1
            return
        suppressed, self._suppressed = self._suppressed, 0
        detail: Detail = {
            "method": str(scope.get("method")),
            "route": str(scope.get("path_template")),
            "status": status,
        }
        if suppressed:
            detail["suppressed"] = suppressed
        asked_for = {name: str(value) for name, value in scope.get("path_params", {}).items()}
        turn_id = asked_for.pop("turn_id", "")
        if named := [value for value in asked_for.values() if _ID.match(value)]:
            detail["id"] = named[0]
        code = reason.replace("-", "_")
        try:
            await self._records.append(access_entry(officer, Kind.ACCESS_DENIED, detail, turn_id=turn_id, reason=code))
        except AttestError:
            self._suppressed += suppressed
            raise

    def _room(self) -> bool:
        minute = int(self._monotonic() // 60)
        if minute != self._minute:
            self._minute, self._in_minute = minute, 0
        self._in_minute += 1
        return self._in_minute <= NOBODYS_A_MINUTE


def officer_of(connection: ASGIConnection[Any, Any, Any, Any], purpose: str = "") -> Officer:
    """Return who asks, as far as authentication knows."""
    principal = connection.scope.get("user")
    return Officer(
        principal=principal,
        surface="page" if principal is not None and principal.session else "api",
        source_ip=connection.client.host if connection.client else "",
        user_agent=connection.headers.get("user-agent", ""),
        purpose=purpose,
    )
