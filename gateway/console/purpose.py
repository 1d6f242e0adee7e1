"""The case that an officer works on: chosen once, kept in a cookie, and the purpose of every text that is opened."""

from litestar.datastructures import Cookie

from audit.governing import GoverningError, UnknownError
from gateway.auth.principal import Role
from gateway.cases.store import Case, Cases
from gateway.console.sealed import Sealer
from gateway.console.shell import ConsoleRequest
from gateway.inquiry.officer import Officer
from gateway.inquiry.refusals import officer_of
from gateway.problems import AttestError, ConflictError, NotFoundError

COOKIE = "attest_case"
_PURPOSE = "case"


class Purposes:
    """Knows for which case an officer asks."""

    def __init__(self, cases: Cases, sealer: Sealer, *, secure: bool) -> None:
        """`secure`: the cookie is for https alone."""
        self._cases = cases
        self._sealer = sealer
        self._secure = secure

    async def case(self, request: ConsoleRequest) -> Case | None:
        """Return the case that the person works on: open, and chosen by themselves."""
        principal = request.user
        if not principal.may(Role.COMPLIANCE):
            return None
        case_id = self._sealer.open(principal.subject, _PURPOSE, request.cookies.get(COOKIE, ""))
        case = await self._cases.case(case_id) if case_id else None
        return case if case is not None and case.is_open else None

    async def officer(self, request: ConsoleRequest) -> tuple[Officer, Case | None]:
        """Return who asks, and for which case."""
        case = await self.case(request)
        return officer_of(request, case.number if case else ""), case

    def chosen(self, request: ConsoleRequest, case_id: str) -> Cookie:
        """Return the cookie that says which case the person works on; an empty id: none."""
        value = self._sealer.seal(request.user.subject, _PURPOSE, case_id)
        return Cookie(
            key=COOKIE, value=value, httponly=True, secure=self._secure, samesite="lax", path="/console",
            max_age=None if value else 0,
        )  # fmt: skip


def refused(error: GoverningError) -> AttestError:
    """Return what a browser is told of something that cannot be, or of what is not there."""
    return (NotFoundError if isinstance(error, UnknownError) else ConflictError)(str(error))
