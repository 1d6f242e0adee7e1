"""Search: turns by every filter and by text, a histogram to choose a time from, facets with counts, saved searches."""

import asyncio
import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation, URLEncodedBody
from litestar.response import Redirect, Response

from audit.governing import GoverningError
from audit.search.ports import ALTERED, Counts
from audit.search.query import TurnQuery
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.cases.searches import SavedSearches
from gateway.console.asked import PageAsked, given, local_text
from gateway.console.charts import VERDICT_TONES, Chart, Look, chart
from gateway.console.purpose import Purposes, refused
from gateway.console.sealed import Sealer
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.http.audit_query import FILTERS, PAGING, Described
from gateway.inquiry.desk import Desk
from gateway.problems import BadRequestError, PurposeRequiredError
from gateway.web.markdown import visible
from gateway.web.pages import Pages, View

SECTION = Section(
    path="/console/search",
    title="console.search.title",
    icon="search",
    roles=(Role.COMPLIANCE, Role.SECURITY),
    group=Group.WORK,
)
VERDICTS = ("allow", "flag", "redact", "pseudonymise", "escalate", "block", "refused")
FACETS = (("verdicts", "verdict"), ("categories", "category"), ("rules", "rule"), ("groups", "group"))
"""Name in the counts → filter."""
NAMES = tuple(name for name in FILTERS if name != "text")
_BARS = (("minute", 60, 3 * 3600), ("hour", 3600, 4 * 86_400), ("day", 86_400, 0))
_FIND = "find"

TheDesk = NamedDependency[SkipValidation[Desk]]


@dataclass
class SearchPage(Described):
    """`GET /console/search`; `find` is the text, sealed."""

    described: ClassVar[dict[str, str]] = dict.fromkeys((*NAMES, *PAGING, _FIND), "")


class SearchForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form: what is asked for stands in its body, so that a text comes into no address."""

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
    order: str = ""
    text: str = ""
    save_as: str = ""


@get(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False)
async def search_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    desk: TheDesk,
    purposes: NamedDependency[SkipValidation[Purposes]],
    sealer: NamedDependency[SkipValidation[Sealer]],
    saved: NamedDependency[SkipValidation[SavedSearches]],
) -> Response[str]:
    """Show a page of turns, and on the first one counts of them all."""
    view = pages.view(request)
    asked = PageAsked(request, SearchPage, view.zone)
    officer, case = await purposes.officer(request)
    text = _opened(asked.text(_FIND), sealer, request)
    query = msgspec.structs.replace(asked.turns(), text=text)
    cursor = asked.text("cursor")
    found = desk.find(officer, query, cursor, asked.limit())
    if text or cursor:
        turns, counts = await found, None
    else:
        turns, counts = await asyncio.gather(found, desk.counts(officer, query, _bar_seconds(query)))
    filters = asked.texts(*NAMES, _FIND)
    only = partial(address, SECTION.path, filters)
    return await console_page(
        request,
        pages,
        SECTION,
        "console/search.html",
        case=case,
        filters=filters
        | {"text": text, "since": local_text(query.since, view.zone), "until": local_text(query.until, view.zone)},
        found=turns,
        altered=ALTERED,
        counts=counts,
        histogram=_histogram(counts, view, only) if counts else None,
        facets=_facets(counts) if counts else (),
        rule_title=lambda rule: pages.rule_title(rule, view.language) or visible(rule),
        only=only,
        verdicts=[(name, view.catalogue.text(f"console.verdict.{name}")) for name in VERDICTS],
        next_page=only(cursor=turns.next or "", limit=asked.text("limit")),
        saved=[
            (one, address(SECTION.path, _sealed(one.query, sealer, request)))
            for one in await saved.listed(request.user.subject)
        ],
        first=not cursor,
        export_values={name: asked.text(name) for name in NAMES if name != "order"} | {"text": text},
        export_total=counts.turns if counts and counts.counted_to is None else 0,
    )


@post(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False, status_code=303)
async def search_asked(
    request: ConsoleRequest,
    data: URLEncodedBody[SearchForm],
    purposes: NamedDependency[SkipValidation[Purposes]],
    sealer: NamedDependency[SkipValidation[Sealer]],
    saved: NamedDependency[SkipValidation[SavedSearches]],
) -> Redirect:
    """Seal the text, keep the search where a name was given, and lead to the results."""
    values = given({name: getattr(data, name).strip() for name in (*NAMES, "text")})
    if "text" in values and await purposes.case(request) is None:
        raise PurposeRequiredError("Choose a case first: texts are searched for a purpose.")
    if data.save_as.strip():
        try:
            await saved.save(request.user.subject, data.save_as, values)
        except GoverningError as error:
            raise refused(error) from None
    return Redirect(address(SECTION.path, _sealed(values, sealer, request)), status_code=303)


@post(SECTION.path + "/saved/{search_id:str}/forget", **recorded_for(*SECTION.roles), include_in_schema=False,
      status_code=303)  # fmt: skip
async def search_forgotten(
    request: ConsoleRequest, search_id: FromPath[str], saved: NamedDependency[SkipValidation[SavedSearches]]
) -> Redirect:
    """Forget one of one's own saved searches."""
    try:
        await saved.forget(request.user.subject, search_id[:36])
    except GoverningError as error:
        raise refused(error) from None
    return Redirect(SECTION.path, status_code=303)


def _opened(sealed: str, sealer: Sealer, request: ConsoleRequest) -> str:
    """Return the text that is searched for. Raises `BadRequestError`: a text that does not open is not no filter."""
    text = sealer.open(request.user.subject, _FIND, sealed)
    if sealed and not text:
        raise BadRequestError("find: is damaged, or was made for somebody else; search for the text again.")
    return text


def _sealed(values: dict[str, str], sealer: Sealer, request: ConsoleRequest) -> dict[str, str]:
    sealed = {name: value for name, value in values.items() if name in NAMES}
    return sealed | {_FIND: sealer.seal(request.user.subject, _FIND, values.get("text", ""))}


def _in_fields(query: TurnQuery, view: View) -> dict[str, str]:
    """Return what fields of the form show otherwise than the address says it."""
    since, until = (local_text(at, view.zone) for at in (query.since, query.until))
    return {"text": query.text, "since": since, "until": until}


def _bar_seconds(query: TurnQuery) -> int:
    if query.since is None:
        return 86_400
    span = ((query.until or dt.datetime.now(dt.UTC)) - query.since).total_seconds()
    return next(seconds for _, seconds, longest in _BARS if span <= longest or not longest)


def _histogram(counts: Counts, view: View, only: Any) -> Chart:
    def link(start: dt.datetime, end: dt.datetime) -> str:
        return str(only(since=start.isoformat(), until=end.isoformat()))

    look = Look(VERDICT_TONES, lambda verdict: verdict_name(view, verdict), link)
    bars = [(bar.start, {one.value: one.turns for one in bar.verdicts}) for bar in counts.bars]
    return chart(bars, counts.bar_seconds, look)


def verdict_name(view: View, verdict: str) -> str:
    """Return a verdict in words."""
    return view.catalogue.text(f"console.verdict.{verdict}") if verdict in VERDICTS else verdict


def _facets(counts: Counts) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return tuple((name, getattr(counts, field)[:12]) for field, name in FACETS if getattr(counts, field))


PART = Part(SECTION, (search_page, search_asked, search_forgotten))
