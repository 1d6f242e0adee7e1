"""Keeping: what is due for pruning, what is held and why, and whose texts are to be erased."""

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation, URLEncodedBody
from litestar.response import Redirect, Response

from audit.approval import Approval
from audit.erasure import HeldError
from audit.governing import GoverningError
from audit.hold import Hold
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.record import Kind
from audit.retention import Pruned
from audit.search.query import Order
from audit.search.records import RecordQuery
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.purpose import refused
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.governance import Governance
from gateway.inquiry.desk import Desk, plainly
from gateway.inquiry.refusals import officer_of
from gateway.problems import AuditUnavailableProblemError
from gateway.settings import Settings
from gateway.web.pages import Pages

SECTION = Section(
    path="/console/keeping",
    title="console.keeping.title",
    icon="archive",
    roles=(Role.COMPLIANCE,),
    group=Group.LOG,
)
_ACCESS = recorded_for(*SECTION.roles)
SAID = ("waits", "erased", "is_held", "released")

TheGovernance = NamedDependency[SkipValidation[Governance]]
TheDesk = NamedDependency[SkipValidation[Desk]]


class NewErasure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose texts are to be erased, and for which case."""

    subject: str
    case_number: str


@get(SECTION.path, **_ACCESS, include_in_schema=False)
async def keeping_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    governance: TheGovernance,
    desk: TheDesk,
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Show holds, erasures and prunings."""
    return await _page(request, pages, governance, desk, settings)


@post(SECTION.path + "/due", **_ACCESS, include_in_schema=False, status_code=200)
async def due_worked_out(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    governance: TheGovernance,
    desk: TheDesk,
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Go through the log and say what a pruning would do; nothing is pruned."""
    with plainly():
        due = await governance.retention.run(dry=True)
    return await _page(request, pages, governance, desk, settings, due)


@post(SECTION.path + "/erasures", **_ACCESS, include_in_schema=False, status_code=303)
async def erasure_asked(
    request: ConsoleRequest, data: URLEncodedBody[NewErasure], governance: TheGovernance
) -> Redirect:
    """Erase a person's texts, or ask for a second officer where that is demanded."""
    try:
        done = await governance.erase(data.subject.strip(), data.case_number.strip(), request.user.subject)
    except HeldError:
        return _said("is_held")
    except GoverningError as error:
        raise refused(error) from None
    except (AuditUnavailableError, AuditIntegrityError):
        raise AuditUnavailableProblemError("Nothing can be erased now.", retry_after=5) from None
    return _said("waits" if isinstance(done, Approval) else "erased")


@post(SECTION.path + "/holds/{hold_id:str}/release", **_ACCESS, include_in_schema=False, status_code=303)
async def any_hold_released(request: ConsoleRequest, hold_id: FromPath[str], governance: TheGovernance) -> Redirect:
    """Release a hold, or ask for a second officer where that is demanded."""
    try:
        done, _ = await governance.release(hold_id[:36], request.user.subject)
    except GoverningError as error:
        raise refused(error) from None
    return _said("waits" if isinstance(done, Approval) else "released")


async def _page(
    request: ConsoleRequest,
    pages: Pages,
    governance: Governance,
    desk: Desk,
    settings: Settings,
    due: Pruned | None = None,
) -> Response[str]:
    holds = await governance.holds.listed()
    waiting = await governance.approvals.listed()
    prunings = await desk.records(
        officer_of(request), RecordQuery(kinds=(Kind.RETENTION_PRUNED,), order=Order.NEWEST), "", 10
    )
    said = request.query_params.get("said", "")
    return await console_page(
        request,
        pages,
        SECTION,
        "console/keeping.html",
        holds=holds,
        waiting={one.arguments.get("hold_id", "") for one in waiting},
        asked=[one for one in waiting if one.action == "erase"],
        erasures=[(one, _against(holds, one.subject)) for one in reversed(await governance.erasures.listed())],
        prunings=prunings.records,
        days=settings.audit_retention_days,
        due=due,
        said=said if said in SAID else "",
    )


def _against(holds: tuple[Hold, ...], subject: str) -> tuple[Hold, ...]:
    """Return the holds that may cover something of a person."""
    return tuple(hold for hold in holds if hold.subject in ("", subject))


def _said(what: str) -> Redirect:
    return Redirect(address(SECTION.path, {"said": what}), status_code=303)


PART = Part(SECTION, (keeping_page, due_worked_out, erasure_asked, any_hold_released))
