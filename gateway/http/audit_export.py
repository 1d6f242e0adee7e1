"""`/api/audit/export`: turns taken out of the log as NDJSON, CSV or a bundle with proofs. Thin."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from audit.search.export import Format
from audit.search.query import Order, TurnQuery
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.http.audit_query import Asked, ExportOperation, moment_of, purpose_of
from gateway.inquiry.exports import MEDIA, Export, ExportOrder, Exports
from gateway.inquiry.refusals import officer_of
from gateway.problems import BadRequestError
from gateway.web.stream_response import EventStreamResponse

AuditRequest = Request[Any, Any, Any]
TheExports = NamedDependency[SkipValidation[Exports]]
_FORMATS = {one.value: one for one in Format}
_Value = Annotated[str, msgspec.Meta(max_length=1000)]


class ExportAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Body of `POST /api/audit/export`: the parameters of the same GET, as JSON."""

    format: Format = Format.NDJSON
    content: bool = False
    purpose: _Value = ""
    subject: _Value = ""
    group: _Value = ""
    role: _Value = ""
    conversation_id: _Value = ""
    verdict: _Value = ""
    category: _Value = ""
    rule: _Value = ""
    model: _Value = ""
    since: _Value = ""
    until: _Value = ""
    text: _Value = ""
    order: Order = Order.OLDEST

    def order_of(self) -> ExportOrder:
        """Return what is to be exported. Raises `BadRequestError`."""
        names = set(TurnQuery.__struct_fields__) - {"since", "until"}
        filters: dict[str, Any] = {name: getattr(self, name) for name in names}
        filters |= {name: moment_of(name, getattr(self, name)) for name in ("since", "until")}
        return ExportOrder(TurnQuery(**filters), self.format, self.content)


@get(
    "/api/audit/export",
    **recorded_for(Role.COMPLIANCE, Role.SECURITY),
    tags=["audit"],
    operation_class=ExportOperation,
)
async def export_turns(request: AuditRequest, exports: TheExports) -> EventStreamResponse:
    """Export the turns found, oldest first; texts with `content=true`, a purpose and the role compliance."""
    asked = Asked(request, ExportOperation)
    order = ExportOrder(asked.turns(Order.OLDEST), asked.choice("format", _FORMATS, "ndjson"), asked.content())
    return export_response(await exports.begin(asked.officer(), order))


@post("/api/audit/export", **recorded_for(Role.COMPLIANCE, Role.SECURITY), tags=["audit"], status_code=200)
async def export_turns_of(
    request: AuditRequest, data: JSONBody[ExportAsked], exports: TheExports
) -> EventStreamResponse:
    """Export as the GET does, for filters that shall not stand in an address."""
    if request.query_params:
        raise BadRequestError("Give everything in the body.")
    officer = officer_of(request, purpose_of(request, data.purpose))
    return export_response(await exports.begin(officer, data.order_of()))


def export_response(export: Export) -> EventStreamResponse:
    """Return an export as a download."""
    ending = "zip" if export.format is Format.BUNDLE else export.format.value
    response = EventStreamResponse(export.chunks, export.close)
    response.headers["content-disposition"] = f'attachment; filename="attest-{export.id}.{ending}"'
    response.headers["content-type"] = MEDIA[export.format]
    return response


audit_export_routes = [export_turns, export_turns_of]
