"""Who read what: the records of every search, reading, export and refusal, by officer and by person."""

import contextlib
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response

from audit.record import Entry
from audit.search.records import ABOUT, ACCESS_KINDS
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.asked import PageAsked, local_text
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.console.words import Words
from gateway.http.audit_query import RecordsOperation
from gateway.inquiry.desk import Desk
from gateway.web.markdown import visible
from gateway.web.pages import Pages, View

SECTION = Section(
    path="/console/readings",
    title="console.readings.title",
    icon="eye",
    roles=(Role.COMPLIANCE, Role.SECURITY),
    group=Group.LOG,
)
DETAILS = (
    *("purpose", "what", "verdict", "category", "rule", "group", "role", "model", "conversation_id", "since", "until"),
    *(
        "text_characters",
        "results",
        "counted",
        "content",
        "format",
        "turns",
        "records",
        "route",
        "command",
        "id",
        "status",
        "state",
    ),
)
"""What of a record's detail the list shows, what was asked for first; the rest is in the API."""


@get(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False)
async def readings_page(
    request: ConsoleRequest, pages: NamedDependency[Pages], desk: NamedDependency[SkipValidation[Desk]]
) -> Response[str]:
    """Show accesses, newest first; this look at them is one itself."""
    view = pages.view(request)
    asked = PageAsked(request, RecordsOperation, view.zone)
    query = asked.records()
    found = await desk.records(asked.officer(), query, asked.text("cursor"), asked.limit())
    filters = asked.texts("officer", "subject", "kind", "since", "until")
    return await console_page(
        request,
        pages,
        SECTION,
        "console/readings.html",
        filters=filters | {"since": local_text(query.since, view.zone), "until": local_text(query.until, view.zone)},
        named_kinds=_named_kinds(filters["kind"], view),
        records=found.records,
        about=Telling(view).about,
        only=partial(address, SECTION.path, filters),
        next_page=address(SECTION.path, filters, cursor=found.next or ""),
        more=found.next is not None,
    )


def _named_kinds(asked: str, view: View) -> list[tuple[str, str]]:
    """Return the kinds to choose from; several together where that is what was asked for."""
    words = Words(view.catalogue)
    named = [(kind.value, words.kind(kind.value)) for kind in ACCESS_KINDS]
    several = asked.split(",")
    return [*named, (asked, ", ".join(map(words.kind, several)))] if len(several) > 1 else named


@dataclass(frozen=True)
class Telling:
    """Tells one reader what records of accesses are about. What it returns has no character that cannot be seen."""

    view: View

    def about(self, record: Entry) -> dict[str, Any]:
        """Return whose turns a record is about, and the details worth a line, in words."""
        detail = record.detail
        subject = next((detail[name] for name in ABOUT if detail.get(name)), "")
        return {
            "subject": subject,
            "detail": {name: self._said(name, detail[name]) for name in DETAILS if name in detail},
        }

    def _said(self, name: str, value: str | float | bool) -> str:
        text = self.view.catalogue.text
        if isinstance(value, bool):
            return text("console.detail.yes" if value else "console.detail.no")
        said = visible(str(value))
        if name in ("since", "until"):
            with contextlib.suppress(ValueError, OverflowError):
                return self.view.moment(datetime.fromisoformat(str(value)), seconds=False)
        if name == "category":
            return self.view.category(said)
        if name == "rule":
            return self.view.pages.rule_title(said, self.view.language) or said
        if name == "role":
            return Words(self.view.catalogue).role(said)
        key = f"console.verdict.{said}" if name == "verdict" else f"console.detail.{name}.{said}"
        return text(key) if self.view.catalogue.has(key) else said


PART = Part(SECTION, (readings_page,))
