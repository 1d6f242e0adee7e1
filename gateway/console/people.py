"""People and sessions: who is signed in, whose access ended and by what, and ending and restoring it."""

from typing import Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidation, URLEncodedBody
from litestar.response import Redirect, Response

from audit.ports import AuditUnavailableError
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.ending.endings import Endings
from gateway.ending.people import People
from gateway.problems import AuditUnavailableProblemError, BadRequestError, ConflictError
from gateway.scim.directory import Directory
from gateway.web.pages import Pages

SECTION = Section(
    path="/console/people", title="console.people.title", icon="people", roles=(Role.ADMIN,), group=Group.ADMIN
)
SAID = ("ended", "disabled", "restored", "inactive")
REASON = "administrator"
MOST_UNMATCHED = 20
"""Users of the directory who are named; of more only the number is said."""
_SUBJECT_LIMIT = 255


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shall become of a person's access."""

    subject: str
    action: Literal["end", "disable", "restore"]


@get(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False)
async def people_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    people: NamedDependency[SkipValidation[People]],
    directory: NamedDependency[SkipValidation[Directory]],
    who: FromQuery[str] = "",
    said: FromQuery[str] = "",
) -> Response[str]:
    """Show who is signed in, whose access has ended, and whose sessions were ended lately."""
    if len(who) > _SUBJECT_LIMIT or "\x00" in who:
        raise BadRequestError("who: is too long, or no text.")
    return await console_page(
        request,
        pages,
        SECTION,
        "console/people.html",
        found=await people.found(who.strip()),
        words=who,
        unmatched=await directory.unmatched(MOST_UNMATCHED),
        said=said if said in SAID else "",
    )


@post(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False, status_code=303)
async def access_changed(
    request: ConsoleRequest,
    data: URLEncodedBody[Change],
    endings: NamedDependency[SkipValidation[Endings]],
    directory: NamedDependency[SkipValidation[Directory]],
) -> Redirect:
    """End a person's sessions, or all access until it is restored."""
    by = request.user.subject
    if not 0 < len(data.subject) <= _SUBJECT_LIMIT or not data.subject.isprintable():
        raise BadRequestError("subject: is no subject.")
    if data.subject == by and data.action == "disable":
        raise ConflictError("You cannot end your own access: another administrator must.")
    try:
        said = await _changed(data, by, endings, directory)
    except AuditUnavailableError:
        raise AuditUnavailableProblemError(
            "This cannot be recorded now, so nothing was changed.", retry_after=5
        ) from None
    return Redirect(address(SECTION.path, {"said": said}), status_code=303)


async def _changed(data: Change, by: str, endings: Endings, directory: Directory) -> str:
    """Do it; return what the page says of it."""
    if data.action == "end":
        await endings.end_sessions_of(data.subject, reason=REASON, by=by)
        return "ended"
    if data.action == "disable":
        await endings.disable(data.subject, reason=REASON, by=by)
        return "disabled"
    return "restored" if await directory.lift(data.subject, reason=REASON, by=by) else "inactive"


PART = Part(SECTION, (people_page, access_changed))
