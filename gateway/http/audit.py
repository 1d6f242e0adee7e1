"""`/api/audit`: search, read and count the log, for compliance and security. Thin: `gateway.inquiry` decides."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, SkipValidation
from litestar.response.base import ASGIResponse

from audit.search.ports import Counts
from audit.search.shown import ShownTurn, to_json
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.http.audit_query import (
    BARS,
    Asked,
    CountOperation,
    FindOperation,
    RecordsOperation,
    ShowOperation,
)
from gateway.inquiry.desk import Desk, RecordsFound, TurnsFound
from gateway.inquiry.refusals import ANSWERED
from gateway.problems import BadRequestError, NotFoundError

_LONGEST_ID = 200
_TAGS = ["audit"]

AuditRequest = Request[Any, Any, Any]
TheDesk = NamedDependency[SkipValidation[Desk]]


@get(
    "/api/audit/turns",
    **recorded_for(Role.COMPLIANCE, Role.SECURITY),
    tags=_TAGS,
    operation_class=FindOperation,
    responses={200: ResponseSpec(TurnsFound, generate_examples=False, description="A page of turns, without texts")},
)
async def find_turns(request: AuditRequest, desk: TheDesk) -> ASGIResponse:
    """Find turns. Searching in texts (`text`) is for the role compliance and needs a purpose."""
    asked = Asked(request, FindOperation)
    return _json(await desk.find(asked.officer(), asked.turns(), asked.text("cursor"), asked.limit()))


@get(
    "/api/audit/turns/{turn_id:str}",
    **recorded_for(Role.COMPLIANCE, Role.SECURITY),
    tags=_TAGS,
    operation_class=ShowOperation,
    responses={200: ResponseSpec(ShownTurn, generate_examples=False, description="The turn and every record of it")},
)
async def show_turn(request: AuditRequest, turn_id: FromPath[str], desk: TheDesk) -> ASGIResponse:
    """Show one turn with its whole decision trail; its texts with `content=true`, a purpose and the role compliance."""
    asked = Asked(request, ShowOperation)
    if len(turn_id) > _LONGEST_ID:
        raise BadRequestError("The id is none of a turn.")
    found = await desk.turn(asked.officer(), turn_id, content=asked.content())
    if found is None:
        request.scope["state"][ANSWERED] = True  # as a reading that found nothing
        raise NotFoundError("There is no such turn.")
    return _json(found)


@get(
    "/api/audit/facets",
    **recorded_for(Role.COMPLIANCE, Role.SECURITY),
    tags=_TAGS,
    operation_class=CountOperation,
    responses={200: ResponseSpec(Counts, generate_examples=False, description="Counts")},
)
async def count_turns(request: AuditRequest, desk: TheDesk) -> ASGIResponse:
    """Count closed turns by verdict, category, rule and group, and over time."""
    asked = Asked(request, CountOperation)
    return _json(await desk.counts(asked.officer(), asked.turns(), asked.choice("interval", BARS, "day")))


@get(
    "/api/audit/records",
    **recorded_for(Role.COMPLIANCE, Role.SECURITY),
    tags=_TAGS,
    operation_class=RecordsOperation,
    responses={200: ResponseSpec(RecordsFound, generate_examples=False, description="A page of records")},
)
async def find_records(request: AuditRequest, desk: TheDesk) -> ASGIResponse:
    """Find records without texts: who searched, read, exported, was refused; with `kind` any other."""
    asked = Asked(request, RecordsOperation)
    return _json(await desk.records(asked.officer(), asked.records(), asked.text("cursor"), asked.limit()))


def _json(value: object) -> ASGIResponse:
    headers = {"cache-control": "no-store"}
    return ASGIResponse(body=to_json(value), media_type="application/json", headers=headers)


audit_routes = [find_turns, show_turn, count_turns, find_records]
