"""Integrity: checkpoints, anchors, delivery, dead letters, and the whole log verified now."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response
from litestar.response.base import ASGIResponse

from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, console_page
from gateway.governance import Governance
from gateway.inquiry.integrity import Integrity, Progress
from gateway.inquiry.refusals import officer_of
from gateway.problems import AttestError
from gateway.settings import Settings
from gateway.web.pages import Pages
from gateway.web.stream_response import EventStreamResponse

SECTION = Section(
    path="/console/integrity",
    title="console.integrity.title",
    icon="seal",
    roles=(Role.COMPLIANCE, Role.SECURITY),
    group=Group.LOG,
)
STREAM = "application/x-ndjson"

TheIntegrity = NamedDependency[SkipValidation[Integrity]]


@get(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False)
async def integrity_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    integrity: TheIntegrity,
    governance: NamedDependency[SkipValidation[Governance]],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Show how the log stands."""
    return await console_page(
        request,
        pages,
        SECTION,
        "console/integrity.html",
        standing=await integrity.standing(),
        places=tuple(place.name for place in governance.anchoring.places),
        delivers=bool(settings.elasticsearch_url),
    )


@post(SECTION.path + "/verify", **recorded_for(*SECTION.roles), include_in_schema=False, status_code=200)
async def log_verified(request: ConsoleRequest, integrity: TheIntegrity) -> ASGIResponse:
    """Verify the whole log. A script gets a line of progress now and then; a plain form waits for the end."""
    progress = integrity.verify(officer_of(request))
    if STREAM not in request.headers.get("accept", ""):
        async with aclosing(progress):
            async for _ in progress:
                pass
        return ASGIResponse(status_code=303, headers={"location": SECTION.path})
    first = await anext(progress)
    response = EventStreamResponse(_lines(first, progress), progress.aclose)
    response.headers["content-type"] = STREAM
    return response


async def _lines(first: Progress, progress: AsyncGenerator[Progress, None]) -> AsyncGenerator[bytes, None]:
    encode = msgspec.json.Encoder().encode
    yield encode(first) + b"\n"
    try:
        async for one in progress:
            yield encode(one) + b"\n"
    except AttestError as error:
        yield encode({"failed": error.code}) + b"\n"


PART = Part(SECTION, (integrity_page, log_verified))
