"""Who may read texts of turns: the role, for a case, and where that is demanded with a second officer's consent."""

from audit.approval import Action, Approvals
from gateway.inquiry.officer import Officer
from gateway.problems import ForbiddenError, PurposeRequiredError, SecondOfficerRequiredError


class ReadingPermission:
    """Decides about reading texts, before anything is read."""

    def __init__(self, approvals: Approvals, *, four_eyes: bool) -> None:
        """`four_eyes`: a second officer must have granted it (`content` in ATTEST_AUDIT_FOUR_EYES)."""
        self._approvals = approvals
        self._four_eyes = four_eyes

    async def check(self, officer: Officer) -> None:
        """Let texts be read for a purpose by those who may.

        Raises `ForbiddenError`, `PurposeRequiredError`, `SecondOfficerRequiredError`, `AuditUnavailableError`.
        """
        if not officer.may_read_texts or officer.principal is None:
            raise ForbiddenError("Texts of turns are for the role compliance; metadata is open to you.")
        if not officer.purpose:
            raise PurposeRequiredError("Give the case number as header X-Attest-Purpose or as parameter purpose.")
        if self._four_eyes and not await granted(self._approvals, officer.principal.subject, officer.purpose):
            raise SecondOfficerRequiredError(
                "Ask for this case with POST /api/audit/approvals or in the console; another officer must grant it."
            )


async def granted(approvals: Approvals, by: str, case_number: str) -> bool:
    """Whether somebody holds a grant now to read texts for a case. Raises `AuditUnavailableError`."""
    return await approvals.granted(Action.CONTENT, by, {"case_number": case_number}) is not None
