"""What needs a second officer: requests that wait, one's own and others', and how the decided ones ended."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation, URLEncodedBody
from litestar.response import Redirect, Response

from audit.approval import Action, Decision
from audit.governing import now_us
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, console_page
from gateway.governance import Governance
from gateway.inquiry.consent import Consent
from gateway.inquiry.officer import PURPOSE_LIMIT
from gateway.inquiry.refusals import officer_of
from gateway.problems import BadRequestError
from gateway.settings import Settings
from gateway.web.pages import Pages

SECTION = Section(
    path="/console/approvals",
    title="console.approvals.title",
    icon="people",
    roles=(Role.COMPLIANCE,),
    group=Group.WORK,
)
SHOWN = 200
"""Most requests on the page, newest first."""
_ACCESS = recorded_for(*SECTION.roles)

TheConsent = NamedDependency[SkipValidation[Consent]]


class ReadingWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A case for which texts shall be read."""

    case_number: Annotated[str, msgspec.Meta(max_length=PURPOSE_LIMIT)]


class DecisionMade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the second officer says."""

    decision: Decision


@get(SECTION.path, **_ACCESS, include_in_schema=False)
async def approvals_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    consent: TheConsent,
    governance: NamedDependency[SkipValidation[Governance]],
    settings: NamedDependency[Settings],
    shown: FromQuery[str] = "",
) -> Response[str]:
    """Show what waits, and with `shown=all` everything that was ever asked."""
    if shown not in {"", "all"}:
        raise BadRequestError("shown: must be all, or be left out.")
    found = await consent.listed(officer_of(request), decided=shown == "all")
    return await console_page(
        request,
        pages,
        SECTION,
        "console/approvals.html",
        approvals=found[::-1][:SHOWN],
        everything=shown == "all",
        demanded=sorted(settings.four_eyes | {Action.POLICY.value}),
        me=request.user.subject,
        now_us=now_us(),
        holds={one.hold_id: one for one in await governance.holds.listed(released=True)},
    )


@post(SECTION.path, **_ACCESS, include_in_schema=False, status_code=303)
async def reading_asked(request: ConsoleRequest, data: URLEncodedBody[ReadingWanted], consent: TheConsent) -> Redirect:
    """Ask that texts may be read for a case."""
    await consent.ask_to_read(officer_of(request), data.case_number.strip())
    return Redirect(SECTION.path, status_code=303)


@post(SECTION.path + "/{approval_id:str}", **_ACCESS, include_in_schema=False, status_code=303)
async def approval_decided(
    request: ConsoleRequest, data: URLEncodedBody[DecisionMade], consent: TheConsent, approval_id: FromPath[str]
) -> Redirect:
    """Grant or refuse what somebody else asked for."""
    await consent.decide(officer_of(request), approval_id, data.decision)
    return Redirect(SECTION.path, status_code=303)


PART = Part(SECTION, (approvals_page, reading_asked, approval_decided))
