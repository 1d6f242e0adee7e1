"""Who asks the log, from where and for which case; and the records of that."""

from datetime import UTC, datetime

import msgspec
import structlog
from opentelemetry.trace import format_trace_id, get_current_span

from audit.ports import AuditLog, AuditOverloadedError, AuditUnavailableError
from audit.record import Content, Entry, Kind, user_agent
from gateway.auth.principal import Principal, Role
from gateway.problems import AuditUnavailableProblemError

PURPOSE_LIMIT = 100
"""Characters of a case number."""
_ID_LIMIT = 200
ANONYMOUS = "anonymous"

Detail = dict[str, str | int | float | bool]


class Officer(msgspec.Struct, frozen=True):
    """Whoever asks the log for something."""

    principal: Principal | None
    surface: str = ""
    source_ip: str = ""
    user_agent: str = ""
    purpose: str = ""
    """Case number; empty: none was given."""

    @property
    def may_read_texts(self) -> bool:
        """Whether the officer's role lets texts be read at all."""
        return self.principal is not None and self.principal.may(Role.COMPLIANCE)


def access_entry(
    officer: Officer, kind: Kind, detail: Detail, *, turn_id: str = "", reason: str = "", query: str = ""
) -> Entry:
    """Return the record that an officer did something; the searched text goes beside it, encrypted."""
    principal = officer.principal
    span = get_current_span().get_span_context()
    purpose: Detail = {"purpose": officer.purpose} if officer.purpose else {}
    return Entry(
        kind=kind,
        at=datetime.now(UTC),
        subject=principal.subject if principal else ANONYMOUS,
        name=principal.name if principal else "",
        groups=principal.groups if principal else (),
        roles=tuple(sorted(role.value for role in principal.roles)) if principal else (),
        surface=officer.surface,
        source_ip=officer.source_ip,
        user_agent=user_agent(officer.user_agent),
        trace_id=format_trace_id(span.trace_id) if span.is_valid else "",
        turn_id=turn_id[:_ID_LIMIT],
        reason=reason,
        detail=purpose | detail,
        contents=(Content("query", "officer", query),) if query else (),
    )


class AccessRecords:
    """Makes the records durable; what they tell of happens only afterwards."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def append(self, entry: Entry) -> None:
        """Append one. Raises `AuditUnavailableProblemError`: then nothing may be answered."""
        try:
            await self._log.append(entry)
        except AuditUnavailableError as error:
            structlog.get_logger("attest.audit").error("access.unrecorded", kind=entry.kind.value)
            retry_after = 1 if isinstance(error, AuditOverloadedError) else 5
            raise AuditUnavailableProblemError(
                "The audit log cannot take the record of this access, so nothing is shown.", retry_after=retry_after
            ) from None
