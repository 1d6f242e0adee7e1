"""What security watches: refusals and failures counted from records, people by what was stopped. No content."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.record import Entry, Kind
from audit.search.people import Person, people
from audit.search.records import RecordQuery, RecordSearch
from gateway.inquiry.desk import plainly
from gateway.inquiry.officer import AccessRecords, Detail, Officer, access_entry

MOST_RECORDS = 5000
"""Records of a kind that are looked at, the newest."""
_PAGE = 1000
SHOWN = 10
_FAILED = ("error", "timed_out")

Bars = tuple[tuple[datetime, dict[str, int]], ...]
"""Starts of stretches, and how often each value occurred in them."""


class Watched(msgspec.Struct, frozen=True):
    """Everything that the page draws beside the counts of turns."""

    refusals: Bars
    """Refused sign-ins and accesses over time, by kind."""
    refused: str
    """How many; `5000+` where there were more than are looked at."""
    reasons: tuple[tuple[str, int], ...]
    guards: tuple[tuple[str, str, int], ...]
    """Stage, status (`error`, `timed_out`), turns that it stopped."""
    failures: Bars
    """Turns that a failed guard stopped, by status."""
    people: tuple[Person, ...]


class SecurityWatch:
    """Looks; each look is on record before it is shown. Raises the errors of `gateway.problems`."""

    def __init__(self, engine: AsyncEngine, access: AccessRecords) -> None:
        self._engine = engine
        self._access = access
        self._records = RecordSearch(engine)

    async def look(self, officer: Officer, since: datetime, bar_seconds: int) -> Watched:
        """Return what happened since then."""
        with plainly():
            refused = await self._newest((Kind.LOGIN_FAILED, Kind.ACCESS_DENIED), since)
            blocked = [one for one in await self._newest((Kind.TURN_BLOCKED,), since) if one.reason == "guard_failed"]
            found = await people(self._engine, since, SHOWN)
        detail: Detail = {"what": "security", "since": since.isoformat(), "results": len(refused) + len(blocked)}
        await self._access.append(access_entry(officer, Kind.ACCESS_SEARCH, detail))
        failed = [(one, stage) for one in blocked for stage in one.stages if stage.status in _FAILED]
        guards = Counter((stage.stage, stage.status) for _, stage in failed)
        return Watched(
            refusals=bars(((one.at, one.kind.value) for one in refused), bar_seconds),
            refused=f"{len(refused)}+" if len(refused) >= MOST_RECORDS else str(len(refused)),
            reasons=tuple(Counter(one.reason for one in refused if one.reason).most_common(SHOWN)),
            guards=tuple((stage, status, count) for (stage, status), count in guards.most_common(SHOWN)),
            failures=bars(((one.at, stage.status) for one, stage in failed), bar_seconds),
            people=found,
        )

    async def _newest(self, kinds: tuple[Kind, ...], since: datetime) -> Sequence[Entry]:
        found: list[Entry] = []
        after = None
        while len(found) < MOST_RECORDS:
            page = await self._records.page(RecordQuery(kinds=kinds, since=since), after, _PAGE)
            found += page.records
            after = page.reached
            if after is None:
                break
        return found


def bars(moments: Iterable[tuple[datetime, str]], seconds: int) -> Bars:
    """Return moments counted by stretches of `seconds`, in order of time."""
    counted: dict[int, Counter[str]] = {}
    for at, value in moments:
        counted.setdefault(int(at.timestamp()) // seconds, Counter())[value] += 1
    return tuple(
        (datetime.fromtimestamp(start * seconds, UTC), dict(found)) for start, found in sorted(counted.items())
    )
