"""`/api/audit/approvals`: what needs a second officer. Thin: `gateway.inquiry.consent` decides."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody, PathParameter, SkipValidation

from audit.approval import Approval, Decision
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.http.chat_types import CONVERSATION_ID
from gateway.inquiry.consent import Consent
from gateway.inquiry.officer import PURPOSE_LIMIT
from gateway.inquiry.refusals import officer_of

_TAGS = ["audit"]

ApprovalRequest = Request[Any, Any, Any]
TheConsent = NamedDependency[SkipValidation[Consent]]
Id = Annotated[str, PathParameter(pattern=CONVERSATION_ID)]


class ReadingAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to read texts of turns for a case."""

    case_number: Annotated[str, msgspec.Meta(min_length=1, max_length=PURPOSE_LIMIT)]


class Decided(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a second officer decided."""

    decision: Decision


@get("/api/audit/approvals", **recorded_for(Role.COMPLIANCE), tags=_TAGS)
async def list_approvals(
    request: ApprovalRequest, consent: TheConsent, *, decided: FromQuery[bool] = False
) -> tuple[Approval, ...]:
    """List what waits for a second officer, oldest first; with `decided=true` everything that was ever asked."""
    return await consent.listed(officer_of(request), decided=decided)


@post("/api/audit/approvals", **recorded_for(Role.COMPLIANCE), tags=_TAGS)
async def ask_to_read(request: ApprovalRequest, data: JSONBody[ReadingAsked], consent: TheConsent) -> Approval:
    """Ask that texts may be read for a case; the same case is then given as purpose."""
    return await consent.ask_to_read(officer_of(request), data.case_number)


@post("/api/audit/approvals/{approval_id:str}", **recorded_for(Role.COMPLIANCE), tags=_TAGS, status_code=200)
async def decide(request: ApprovalRequest, data: JSONBody[Decided], consent: TheConsent, approval_id: Id) -> Approval:
    """Grant or refuse what somebody else asked for; what is granted is done."""
    return await consent.decide(officer_of(request), approval_id, data.decision)


approval_routes = [list_approvals, ask_to_read, decide]
