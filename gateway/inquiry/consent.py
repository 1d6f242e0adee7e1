"""Four eyes over HTTP: officers ask, another officer decides; what is granted is done. Every step is a record."""

import contextlib
from collections.abc import Iterator

from audit.approval import Action, Approval, Decision
from audit.governing import GoverningError, UnknownError
from audit.hold import check_case
from audit.ledger import LedgerError
from audit.ports import AuditLog, AuditUnavailableError
from audit.record import Kind
from gateway.governance import Governance
from gateway.inquiry.officer import AccessRecords, Officer, access_entry
from gateway.problems import AuditUnavailableProblemError, ConflictError, ForbiddenError, NotFoundError


class Consent:
    """Takes requests and decisions of people who are signed in. Raises the errors of `gateway.problems`."""

    def __init__(self, log: AuditLog, governance: Governance) -> None:
        self._governance = governance
        self._access = AccessRecords(log)

    async def listed(self, officer: Officer, *, decided: bool = False) -> tuple[Approval, ...]:
        """Return what waits, oldest first; with `decided` everything that was ever asked. The look is recorded."""
        with governed():
            approvals = await self._governance.approvals.listed(decided=decided)
        detail: dict[str, str | int | float | bool] = {"what": "approvals", "results": len(approvals)}
        await self._access.append(access_entry(officer, Kind.ACCESS_SEARCH, detail))
        return approvals

    async def ask_to_read(self, officer: Officer, case_number: str) -> Approval:
        """Ask that texts may be read for a case; a request of one's own for it that still waits is returned again."""
        by = _subject(officer)
        approvals = self._governance.approvals
        with governed():
            check_case(case_number)
            wanted = {"case_number": case_number}
            mine = [one for one in await approvals.listed() if one.requested_by == by]
            waiting = next((one for one in mine if (one.action, one.arguments) == (Action.CONTENT, wanted)), None)
            return waiting or await approvals.request(Action.CONTENT, wanted, by)

    async def decide(self, officer: Officer, approval_id: str, decision: Decision) -> Approval:
        """Decide what somebody else asked for; of several decisions at once exactly one counts, the others conflict."""
        by = _subject(officer)
        with governed():
            if decision is Decision.APPROVED:
                approval, _ = await self._governance.grant(approval_id, by)
                return approval
            return await self._governance.approvals.decide(approval_id, decision, by)


@contextlib.contextmanager
def governed() -> Iterator[None]:
    """Turn errors of what governs the log into those that a client may see."""
    try:
        yield
    except UnknownError as error:
        raise NotFoundError(str(error)) from None
    except GoverningError as error:
        raise ConflictError(str(error)) from None
    except (AuditUnavailableError, LedgerError) as error:
        raise AuditUnavailableProblemError("The audit log cannot be changed now.", retry_after=5) from error


def _subject(officer: Officer) -> str:
    if officer.principal is None:
        raise ForbiddenError
    return officer.principal.subject
