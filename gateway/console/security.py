"""Security: what was stopped, by what and whose; failures of guards; refused sign-ins and accesses. No content."""

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.response import Response

from audit.search.ports import Count, Counts
from audit.search.query import TurnQuery
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.asked import PageAsked
from gateway.console.charts import VERDICT_TONES, Bars, Chart, Look, chart
from gateway.console.search import verdict_name
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.http.audit_query import Described
from gateway.inquiry.desk import Desk
from gateway.inquiry.refusals import officer_of
from gateway.inquiry.watching import SecurityWatch
from gateway.settings import Settings
from gateway.web.pages import Pages, View
from safety.verdict import Action

SECTION = Section(
    path="/console/security",
    title="console.security.title",
    icon="chart",
    roles=(Role.SECURITY, Role.COMPLIANCE),
    group=Group.WORK,
)
PERIODS = {"day": (timedelta(days=1), 3600), "week": (timedelta(days=7), 21_600), "month": (timedelta(days=30), 86_400)}
"""Name → length, and seconds of a bar."""
SEARCH, READINGS = "/console/search", "/console/readings"
FACETS = {"category": "categories", "rule": "rules", "group": "groups"}
"""What blocks are told apart by, and where it stands in the counts."""
ATTACK = "prompt_attack"
DRAWN = 4
"""Values of one of these that are drawn over time, the most frequent."""


@dataclass
class SecurityPage(Described):
    """`GET /console/security`."""

    described: ClassVar[dict[str, str]] = {
        "period": "day, week (default) or month",
        "over": "what is drawn over time: category (default), rule or group",
    }


@dataclass(frozen=True)
class Line:
    """One horizontal bar: a value, how often, its length in percent, and the list behind it; `id` of a rule."""

    label: str
    id: str
    count: int
    width: float
    href: str


@get(SECTION.path, **recorded_for(*SECTION.roles), include_in_schema=False)
async def security_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    desk: NamedDependency[SkipValidation[Desk]],
    security_watch: NamedDependency[SkipValidation[SecurityWatch]],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Draw what happened in a period; every bar leads to the list behind it."""
    view = pages.view(request)
    asked = PageAsked(request, SecurityPage, view.zone)
    length, seconds = asked.choice("period", PERIODS, "week")
    facet, over = asked.choice("over", FACETS, "category"), asked.text("over") or "category"
    now = datetime.now(UTC)
    since = datetime.fromtimestamp((now - length).timestamp() // seconds * seconds, UTC)
    officer = officer_of(request)
    blocked, attack = TurnQuery(verdict="block", since=since), TurnQuery(category=ATTACK, since=since)
    everything, stopped, found, watched = await asyncio.gather(
        desk.counts(officer, TurnQuery(since=since), seconds),
        desk.counts(officer, blocked, seconds),
        desk.counts(officer, attack, seconds),
        security_watch.look(officer, since, seconds),
    )
    values = [one.value for one in getattr(stopped, facet)[:DRAWN]]
    each = await asyncio.gather(
        *(desk.counts(officer, msgspec.structs.replace(blocked, **{over: value}), seconds) for value in values)
    )
    attempts = _not_allowed(found)
    told = await asyncio.gather(
        *(desk.counts(officer, msgspec.structs.replace(attack, verdict=verdict), seconds) for verdict in attempts)
    )
    # A search takes one verdict: where there are several, each has a list of its own, and bars lead to all findings.
    attacks_of = {"category": ATTACK} | ({"verdict": next(iter(attempts))} if len(attempts) == 1 else {})
    draw = _Drawing(view, since, datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC))
    return await console_page(
        request,
        pages,
        SECTION,
        "console/security.html",
        period=asked.text("period") or "week",
        periods=tuple(PERIODS),
        everything=everything,
        turns=draw.turns(everything, {}),
        stopped=stopped,
        blocks=draw.turns(stopped, {"verdict": "block"}),
        by={name: draw.lines(getattr(stopped, field), name, {"verdict": "block"}) for name, field in FACETS.items()},
        each=[
            (draw.label(over, value), counts.turns, draw.turns(counts, {"verdict": "block", over: value}))
            for value, counts in zip(values, each, strict=True)
        ],
        over=over,
        attacks=draw.turns(_without_allowed(found), attacks_of),
        attempts=sum(attempts.values()),
        attempts_by=[(verdict_name(view, verdict), verdict, count) for verdict, count in attempts.items()],
        attacks_of=attacks_of,
        patterns=draw.lines(_together(counts.rules for counts in told), "rule", attacks_of),
        refusals=draw.records(watched.refusals, seconds, "access.denied,login.failed"),
        failures=draw.failures(watched.failures, seconds),
        watched=watched,
        since=since,
        search_of=lambda **values: address(SEARCH, {"since": since.isoformat(), **values}),
        readings_of=lambda **values: address(READINGS, {"since": since.isoformat(), **values}),
        kibana=str(settings.kibana_url).rstrip("/") if settings.kibana_url else "",
    )


def _not_allowed(counts: Counts) -> dict[str, int]:
    """Return turns by their verdict, but for those that were allowed.

    A program sends earlier messages along with each turn, and their findings stand in its record, too: what makes a
    turn an attempt is that something was done about it.
    """
    return {one.value: one.turns for one in counts.verdicts if one.value != Action.ALLOW}


def _without_allowed(counts: Counts) -> Counts:
    bars = ((bar, tuple(one for one in bar.verdicts if one.value != Action.ALLOW)) for bar in counts.bars)
    kept = (msgspec.structs.replace(bar, verdicts=verdicts) for bar, verdicts in bars if verdicts)
    return msgspec.structs.replace(counts, bars=tuple(kept))


def _together(several: Iterable[tuple[Count, ...]]) -> tuple[Count, ...]:
    """Add up counts of the same values, the most frequent first."""
    turns: dict[str, int] = {}
    for one in itertools.chain.from_iterable(several):
        turns[one.value] = turns.get(one.value, 0) + one.turns
    return tuple(Count(value, turns[value]) for value in sorted(turns, key=lambda value: (-turns[value], value)))


class _Drawing:
    """Charts of one page, all of the same period: they stand side by side."""

    def __init__(self, view: View, since: datetime, last: datetime) -> None:
        self._view = view
        self._since = since.isoformat()
        self._period = since, last

    def turns(self, counts: Counts, filters: dict[str, str]) -> Chart:
        """Return counts of turns over time, each bar a search."""
        bars: Bars = [(bar.start, {one.value: one.turns for one in bar.verdicts}) for bar in counts.bars]
        return self._chart(bars, counts.bar_seconds, SEARCH, filters)

    def records(self, bars: Bars, seconds: int, kinds: str) -> Chart:
        """Return records over time, each bar a list of them."""
        return self._chart(bars, seconds, READINGS, {"kind": kinds})

    def failures(self, bars: Bars, seconds: int) -> Chart:
        """Return failed guards over time, each bar the turns that were blocked then."""
        return self._chart(bars, seconds, SEARCH, {"verdict": "block"})

    def lines(self, counts: tuple[Count, ...], name: str, filters: dict[str, str]) -> tuple[Line, ...]:
        """Return values as horizontal bars."""
        shown = counts[:10]
        most = max((one.turns for one in shown), default=1)
        return tuple(
            Line(
                self.label(name, one.value),
                one.value if name == "rule" else "",
                one.turns,
                round(one.turns / most * 100, 1),
                address(SEARCH, {**filters, name: one.value, "since": self._since}),
            )
            for one in shown
        )

    def label(self, name: str, value: str) -> str:
        """Return what a category, rule or group is called."""
        if name == "rule":
            return self._view.pages.rule_title(value, self._view.language) or value
        return self._view.category(value) if name == "category" else value

    def _chart(self, bars: Bars, seconds: int, path: str, filters: dict[str, str]) -> Chart:
        def link(start: datetime, end: datetime) -> str:
            return address(path, {**filters, "since": start.isoformat(), "until": end.isoformat()})

        return chart(bars, seconds, Look(_TONES, self._name, link), self._period)

    def _name(self, value: str) -> str:
        words = self._view.catalogue
        for key in (f"record.kind.{value}", f"console.status.{value}"):
            if words.has(key):
                return words.text(key)
        return verdict_name(self._view, value)


_TONES = VERDICT_TONES | {"access.denied": "block", "login.failed": "warn", "error": "block", "timed_out": "warn"}

PART = Part(SECTION, (security_page,))
