"""Who may read texts of turns: the role, for a case, and where that is demanded with a second officer's consent."""

from collections.abc import Awaitable, Callable

from audit.approval import Action, Approvals
from gateway.inquiry.officer import Officer
from gateway.problems import CaseClosedError, ForbiddenError, PurposeRequiredError, SecondOfficerRequiredError

CLOSED = "The case is closed: no text is opened for it any more. Open another case and give its number."


class ReadingPermission:
    """Decides about reading texts, before anything is read."""

    def __init__(self, approvals: Approvals, is_closed: Callable[[str], Awaitable[bool]], *, four_eyes: bool) -> None:
        """`is_closed`: whether a purpose is the number of a case that was closed.

        `four_eyes`: a second officer must have granted it (`content` in ATTEST_AUDIT_FOUR_EYES).
        """
        self._approvals = approvals
        self._is_closed = is_closed
        self._four_eyes = four_eyes

    async def check(self, officer: Officer) -> None:
        """Let texts be read for a purpose by those who may.

        Raises `ForbiddenError`, `PurposeRequiredError`, `CaseClosedError`, `SecondOfficerRequiredError`,
        `AuditUnavailableError`.
        """
        if not officer.may_read_texts or officer.principal is None:
            raise ForbiddenError("Texts of turns are for the role compliance; metadata is open to you.")
        if not officer.purpose:
            raise PurposeRequiredError("Give the case number as header X-Attest-Purpose or as parameter purpose.")
        if await self._is_closed(officer.purpose):
            raise CaseClosedError(CLOSED)
        if self._four_eyes and not await granted(self._approvals, officer.principal.subject, officer.purpose):
            raise SecondOfficerRequiredError(
                "Ask for this case with POST /api/audit/approvals or in the console; another officer must grant it."
            )


async def granted(approvals: Approvals, by: str, case_number: str) -> bool:
    """Whether somebody holds a grant now to read texts for a case. Raises `AuditUnavailableError`."""
    return await approvals.granted(Action.CONTENT, by, {"case_number": case_number}) is not None
