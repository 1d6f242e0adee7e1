"""Exports from the console: the turns that a search finds, or those of a case, as NDJSON, CSV or a signed bundle."""

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation, URLEncodedBody

from audit.search.export import Chosen, Format
from audit.search.query import Order, TurnQuery
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.cases.store import Cases
from gateway.console.asked import local_moment
from gateway.console.purpose import Purposes
from gateway.console.shell import ConsoleRequest
from gateway.http.audit_export import export_response
from gateway.inquiry.exports import ExportOrder, Exports
from gateway.problems import NotFoundError
from gateway.web.pages import Pages
from gateway.web.stream_response import EventStreamResponse

TheExports = NamedDependency[SkipValidation[Exports]]
ThePurposes = NamedDependency[SkipValidation[Purposes]]


class SearchExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to export of a search."""

    format: Format
    content: str = ""
    subject: str = ""
    group: str = ""
    role: str = ""
    conversation_id: str = ""
    verdict: str = ""
    category: str = ""
    rule: str = ""
    model: str = ""
    since: str = ""
    until: str = ""
    text: str = ""


class CaseExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to export of a case."""

    format: Format
    content: str = ""


@post("/console/export", **recorded_for(Role.COMPLIANCE, Role.SECURITY), include_in_schema=False, status_code=200)
async def search_exported(
    request: ConsoleRequest,
    data: URLEncodedBody[SearchExport],
    pages: NamedDependency[Pages],
    exports: TheExports,
    purposes: ThePurposes,
) -> EventStreamResponse:
    """Export what a search finds, oldest first."""
    officer, _ = await purposes.officer(request)
    zone = pages.view(request).zone
    names = set(TurnQuery.__struct_fields__) - {"since", "until", "order"}
    query = TurnQuery(
        **{name: getattr(data, name) for name in names},
        since=local_moment("since", data.since, zone),
        until=local_moment("until", data.until, zone),
        order=Order.OLDEST,
    )
    return export_response(await exports.begin(officer, ExportOrder(query, data.format, data.content == "true")))


@post("/console/cases/{case_id:str}/export", **recorded_for(Role.COMPLIANCE), include_in_schema=False, status_code=200)
async def case_exported(
    request: ConsoleRequest,
    case_id: FromPath[str],
    data: URLEncodedBody[CaseExport],
    cases: NamedDependency[SkipValidation[Cases]],
    exports: TheExports,
    purposes: ThePurposes,
) -> EventStreamResponse:
    """Export the turns of a case, in the order in which they were collected."""
    officer, _ = await purposes.officer(request)
    turn_ids = await cases.turn_ids(case_id)
    if not turn_ids:
        raise NotFoundError("The case holds no turns.")
    order = ExportOrder(TurnQuery(), data.format, data.content == "true", Chosen(turn_ids), case_id)
    return export_response(await exports.begin(officer, order))


EXPORT_ROUTES = (search_exported, case_exported)
