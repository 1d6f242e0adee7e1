"""Cases: what texts are opened for; turns collected, notes, holds, exports, a report to print."""

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation, URLEncodedBody
from litestar.response import Redirect, Response

from audit.approval import Approval
from audit.governing import GoverningError
from audit.hold import HoldOrder
from audit.ports import AuditUnavailableError
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.cases.store import Case, Cases
from gateway.console.asked import local_moment
from gateway.console.purpose import Purposes, refused
from gateway.console.search import VERDICTS, verdict_name
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.governance import Governance
from gateway.inquiry.desk import Desk
from gateway.inquiry.officer import PURPOSE_LIMIT
from gateway.problems import AuditUnavailableProblemError, BadRequestError, NotFoundError
from gateway.web.pages import Pages

SECTION = Section(
    path="/console/cases", title="console.cases.title", icon="folder", roles=(Role.COMPLIANCE,), group=Group.WORK
)
_ACCESS = recorded_for(*SECTION.roles)
SAID = ("waits", "collected", "held", "released", "noted", "closed")
HELD_BY = ("subject", "conversation_id", "group", "verdict", "category", "rule", "model")
"""What a hold is placed by beside times and collected turns."""
IN_REPORT = 50
"""Turns whose texts a report prints; more are for an export."""

TheCases = NamedDependency[SkipValidation[Cases]]
ThePurposes = NamedDependency[SkipValidation[Purposes]]
TheGovernance = NamedDependency[SkipValidation[Governance]]
TheDesk = NamedDependency[SkipValidation[Desk]]


class NewCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A case to open."""

    number: str
    purpose: str


class NewNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A note to add."""

    text: str


class ChosenTurns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Turns to collect: one, or several."""

    turn_id: list[str] | str = msgspec.field(default_factory=list)


class NewHold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hold to place for a case."""

    reason: str
    subject: str = ""
    conversation_id: str = ""
    since: str = ""
    until: str = ""
    group: str = ""
    verdict: str = ""
    category: str = ""
    rule: str = ""
    model: str = ""
    collected: str = ""
    """Only the turns that the case has collected, where it is not empty."""


@get(SECTION.path, **_ACCESS, include_in_schema=False)
async def cases_page(
    request: ConsoleRequest, pages: NamedDependency[Pages], cases: TheCases, purposes: ThePurposes, desk: TheDesk
) -> Response[str]:
    """Show the cases, and let one be opened or chosen."""
    officer, case = await purposes.officer(request)
    listed = await cases.listed(closed=True)
    await desk.looked(officer, "cases", len(listed))
    return await console_page(request, pages, SECTION, "console/cases.html", cases=listed, case=case)


@post(SECTION.path, **_ACCESS, include_in_schema=False, status_code=303)
async def case_opened(
    request: ConsoleRequest, data: URLEncodedBody[NewCase], cases: TheCases, purposes: ThePurposes
) -> Redirect:
    """Open a case and work on it from now on."""
    if len(data.number.strip()) > PURPOSE_LIMIT:
        raise BadRequestError(f"A case number has at most {PURPOSE_LIMIT} characters.")
    try:
        case = await cases.open(data.number, data.purpose, request.user.subject)
    except GoverningError as error:
        raise refused(error) from None
    return Redirect(_path(case), status_code=303, cookies=[purposes.chosen(request, case.case_id)])


@post(SECTION.path + "/leave", **_ACCESS, include_in_schema=False, status_code=303)
async def case_left(request: ConsoleRequest, purposes: ThePurposes) -> Redirect:
    """Work on no case."""
    return Redirect(SECTION.path, status_code=303, cookies=[purposes.chosen(request, "")])


@post(SECTION.path + "/collect", **_ACCESS, include_in_schema=False, status_code=303)
async def turns_collected(
    request: ConsoleRequest, data: URLEncodedBody[ChosenTurns], cases: TheCases, purposes: ThePurposes
) -> Redirect:
    """Collect turns in the case that the person works on."""
    case = await purposes.case(request)
    if case is None:
        raise BadRequestError("Choose a case first.")
    turn_ids = [data.turn_id] if isinstance(data.turn_id, str) else data.turn_id
    try:
        await cases.collect(case.case_id, turn_ids, request.user.subject)
    except GoverningError as error:
        raise refused(error) from None
    return Redirect(_path(case, said="collected"), status_code=303)


@get(SECTION.path + "/{case_id:str}", **_ACCESS, include_in_schema=False)
async def case_page(
    request: ConsoleRequest,
    case_id: FromPath[str],
    pages: NamedDependency[Pages],
    cases: TheCases,
    purposes: ThePurposes,
    desk: TheDesk,
    governance: TheGovernance,
) -> Response[str]:
    """Show a case."""
    shown = await _case(cases, case_id)
    officer, case = await purposes.officer(request)
    turns = await desk.listed(officer, await cases.turn_ids(case_id), {"case_id": case_id})
    holds = [one for one in await governance.holds.listed(released=True) if one.case_number == shown.number]
    said = request.query_params.get("said", "")
    return await console_page(
        request,
        pages,
        SECTION,
        "console/case.html",
        shown=shown,
        case=case,
        turns=turns,
        people=tuple(dict.fromkeys(turn.subject for turn in turns)),
        notes=await cases.notes(case_id),
        holds=holds,
        waiting=await _waiting(governance, {one.hold_id for one in holds}),
        verdicts=[(name, verdict_name(pages.view(request), name)) for name in VERDICTS],
        said=said if said in SAID else "",
    )


@post(SECTION.path + "/{case_id:str}/choose", **_ACCESS, include_in_schema=False, status_code=303)
async def case_chosen(
    request: ConsoleRequest, case_id: FromPath[str], cases: TheCases, purposes: ThePurposes
) -> Redirect:
    """Work on this case from now on."""
    case = await _case(cases, case_id)
    return Redirect(_path(case), status_code=303, cookies=[purposes.chosen(request, case.case_id)])


@post(SECTION.path + "/{case_id:str}/notes", **_ACCESS, include_in_schema=False, status_code=303)
async def note_added(
    request: ConsoleRequest, case_id: FromPath[str], data: URLEncodedBody[NewNote], cases: TheCases
) -> Redirect:
    """Add a note."""
    case = await _case(cases, case_id)
    try:
        await cases.note(case_id, data.text, request.user.subject)
    except GoverningError as error:
        raise refused(error) from None
    except AuditUnavailableError:
        raise AuditUnavailableProblemError("The note cannot be recorded now.", retry_after=5) from None
    return Redirect(_path(case, said="noted"), status_code=303)


@post(SECTION.path + "/{case_id:str}/close", **_ACCESS, include_in_schema=False, status_code=303)
async def case_closed(request: ConsoleRequest, case_id: FromPath[str], cases: TheCases) -> Redirect:
    """Close a case."""
    case = await _case(cases, case_id)
    try:
        await cases.close(case_id, request.user.subject)
    except GoverningError as error:
        raise refused(error) from None
    return Redirect(_path(case, said="closed"), status_code=303)


@post(SECTION.path + "/{case_id:str}/holds", **_ACCESS, include_in_schema=False, status_code=303)
async def hold_placed(
    request: ConsoleRequest,
    case_id: FromPath[str],
    data: URLEncodedBody[NewHold],
    pages: NamedDependency[Pages],
    cases: TheCases,
    governance: TheGovernance,
) -> Redirect:
    """Place a hold for the case."""
    case, zone = await _case(cases, case_id), pages.view(request).zone
    collected = await cases.kept_turn_ids(case_id) if data.collected else ()
    if data.collected and not collected:
        raise BadRequestError("The case has collected no turn that is still kept.")
    order = HoldOrder(
        case_number=case.number,
        reason=data.reason.strip(),
        since=local_moment("since", data.since, zone),
        until=local_moment("until", data.until, zone),
        turn_ids=collected,
    )
    order = msgspec.structs.replace(order, **{name: getattr(data, name).strip() for name in HELD_BY})
    try:
        await governance.holds.place(order, request.user.subject)
    except GoverningError as error:
        raise refused(error) from None
    return Redirect(_path(case, said="held"), status_code=303)


@post(SECTION.path + "/{case_id:str}/holds/{hold_id:str}/release", **_ACCESS, include_in_schema=False,
      status_code=303)  # fmt: skip
async def hold_released(
    request: ConsoleRequest,
    case_id: FromPath[str],
    hold_id: FromPath[str],
    cases: TheCases,
    governance: TheGovernance,
) -> Redirect:
    """Release a hold of the case, or ask for a second officer where that is demanded."""
    case = await _case(cases, case_id)
    if not any(one.hold_id == hold_id and one.case_number == case.number for one in await governance.holds.listed()):
        raise NotFoundError("The case has no such hold in force.")
    try:
        done, _ = await governance.release(hold_id, request.user.subject)
    except GoverningError as error:
        raise refused(error) from None
    said = "waits" if isinstance(done, Approval) else "released"
    return Redirect(_path(case, said=said), status_code=303)


@get(SECTION.path + "/{case_id:str}/report", **_ACCESS, include_in_schema=False)
async def case_report(
    request: ConsoleRequest,
    case_id: FromPath[str],
    pages: NamedDependency[Pages],
    cases: TheCases,
    purposes: ThePurposes,
    desk: TheDesk,
    governance: TheGovernance,
) -> Response[str]:
    """Show everything of a case on one page that prints well; texts of the turns while the person works on it."""
    shown = await _case(cases, case_id)
    officer, case = await purposes.officer(request)
    turn_ids = await cases.turn_ids(case_id)
    opened = case is not None and case.case_id == shown.case_id
    turns = [await desk.turn(officer, one, content=opened) for one in turn_ids[:IN_REPORT]]
    return await console_page(
        request,
        pages,
        SECTION,
        "console/report.html",
        shown=shown,
        opened=opened,
        turns=[one for one in turns if one is not None],
        left_out=max(0, len(turn_ids) - IN_REPORT),
        notes=await cases.notes(case_id),
        holds=[one for one in await governance.holds.listed(released=True) if one.case_number == shown.number],
        by=request.user,
    )


async def _case(cases: Cases, case_id: str) -> Case:
    case = await cases.case(case_id) if len(case_id) <= 36 else None  # noqa: PLR2004 - a UUID
    if case is None:
        raise NotFoundError("There is no such case.")
    return case


async def _waiting(governance: Governance, hold_ids: set[str]) -> set[str]:
    """Return the holds whose release waits for a second officer."""
    waiting = await governance.approvals.listed()
    return {one.arguments["hold_id"] for one in waiting if one.arguments.get("hold_id") in hold_ids}


def _path(case: Case, **query: str) -> str:
    return address(f"{SECTION.path}/{case.case_id}", query)


PART = Part(
    SECTION,
    (
        cases_page, case_opened, case_left, turns_collected, case_page, case_chosen, note_added, case_closed,
        hold_placed, hold_released, case_report,
    ),
)  # fmt: skip
