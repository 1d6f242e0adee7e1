"""What officers ask of the log. Everything shown is on record first: who, what, for which case, how much of it."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from audit.bundle.export import NothingSignedError
from audit.ports import AuditIntegrityError, AuditLog, AuditUnavailableError, TurnSummary
from audit.record import Entry, Kind
from audit.search.cursor import Cursors
from audit.search.ports import Counts, TurnSearch
from audit.search.query import QueryError, TurnQuery
from audit.search.records import RecordQuery, RecordSearch
from audit.search.shown import ShownTurn, shown
from audit.search.sql import SqlTurnSearch
from gateway.inquiry.officer import AccessRecords, Detail, Officer, access_entry
from gateway.inquiry.permission import ReadingPermission
from gateway.problems import AuditAlteredError, AuditUnavailableProblemError, BadRequestError

MOST_BARS = 4000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TurnsFound(msgspec.Struct, frozen=True):
    """One page of a search."""

    turns: tuple[TurnSummary, ...]
    next: str | None
    """Cursor of the next page: the same query with `cursor`. Null: all is told. A page may be short, even empty, and
    have a next one: a search looks at a bounded number of turns at a time."""
    looked_to: datetime | None
    """How far in time this page looked; null when it looked to the end."""
    source: str
    """Which store answered: `elasticsearch` (some seconds behind) or `sql`; the next page may come from the other."""


class RecordsFound(msgspec.Struct, frozen=True):
    """One page of records."""

    records: tuple[Entry, ...]
    next: str | None


class Desk:
    """Answers officers. Raises the errors of `gateway.problems`."""

    def __init__(
        self,
        log: AuditLog,
        search: TurnSearch,
        records: RecordSearch,
        cursors: Cursors,
        permission: ReadingPermission,
        lines: SqlTurnSearch,
    ) -> None:
        """`lines` lists turns by their ids, from the log itself."""
        self._log = log
        self._permission = permission
        self._search = search
        self._record_search = records
        self._cursors = cursors
        self._lines = lines
        self._access = AccessRecords(log)

    async def find(self, officer: Officer, query: TurnQuery, cursor: str, limit: int) -> TurnsFound:
        """Return a page of turns, without texts; searching in texts needs a purpose."""
        with plainly():
            query.checked()
            if query.text:
                await self._permission.check(officer)
            after = self._cursors.read(query.fingerprint(), cursor) if cursor else None
            page = await self._search.page(query, after, limit)
        await self._access.append(
            _searched(officer, query, limit=limit, continued=bool(cursor), results=len(page.turns))
        )
        reached = page.reached
        return TurnsFound(
            turns=page.turns,
            next=self._cursors.write(query.fingerprint(), reached) if reached else None,
            looked_to=_EPOCH + timedelta(microseconds=reached.at_us) if reached else None,
            source=page.source,
        )

    async def listed(self, officer: Officer, turn_ids: Sequence[str], about: Detail) -> tuple[TurnSummary, ...]:
        """Return the lines of turns that are known by their ids, without texts; `about` says what for."""
        with plainly():
            turns = await self._lines.listed(turn_ids)
        detail: Detail = {**about, "results": len(turns)}
        await self._access.append(access_entry(officer, Kind.ACCESS_SEARCH, detail))
        return turns

    async def looked(self, officer: Officer, what: str, results: int) -> None:
        """Record that an officer looks at a list of what officers keep, before it is shown."""
        detail: Detail = {"what": what, "results": results}
        await self._access.append(access_entry(officer, Kind.ACCESS_SEARCH, detail))

    async def turn(self, officer: Officer, turn_id: str, *, content: bool) -> ShownTurn | None:
        """Return one turn, its texts only with a purpose; None when there is no such turn."""
        if content:
            with plainly():
                await self._permission.check(officer)
        detail: Detail = {"found": False, "content": content}
        with plainly():
            try:
                trail = await self._log.turn(turn_id)
            except AuditIntegrityError:
                await self._access.append(_read(officer, turn_id, detail | {"found": True, "altered": True}))
                raise
        if trail is not None:
            detail |= {"found": True, "of_subject": trail.subject}
        await self._access.append(_read(officer, turn_id, detail))
        return shown(trail, content=content) if trail is not None else None

    async def counts(self, officer: Officer, query: TurnQuery, bar_seconds: int) -> Counts:
        """Count turns by verdict, category, rule, group and time."""
        with plainly():
            query.checked()
            if query.text:
                raise QueryError("text", "turns are counted by their metadata only")
            _check_bars(query, bar_seconds)
            counts = await self._search.counts(query, bar_seconds)
        await self._access.append(_searched(officer, query, counted=counts.turns))
        return counts

    async def records(self, officer: Officer, query: RecordQuery, cursor: str, limit: int) -> RecordsFound:
        """Return records without texts: by default who read what."""
        with plainly():
            query.checked()
            after = self._cursors.read(query.fingerprint(), cursor) if cursor else None
            page = await self._record_search.page(query, after, limit)
        detail: Detail = {**query.filters(), "limit": limit, "results": len(page.records)}
        await self._access.append(access_entry(officer, Kind.ACCESS_SEARCH, detail))
        following = self._cursors.write(query.fingerprint(), page.reached) if page.reached else None
        return RecordsFound(page.records, following)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Turn errors of the log into those that a client may see."""
    try:
        yield
    except QueryError as error:
        raise BadRequestError(f"{error}.") from None
    except NothingSignedError as error:
        raise AuditUnavailableProblemError(str(error), retry_after=5) from error
    except AuditUnavailableError as error:
        raise AuditUnavailableProblemError("The audit log cannot be read now.", retry_after=5) from error
    except AuditIntegrityError as error:
        raise AuditAlteredError(f"{error}: an operator must run attest audit fsck.") from error


def _check_bars(query: TurnQuery, bar_seconds: int) -> None:
    shortest_for_all = 86_400
    since = query.since or (_EPOCH if bar_seconds < shortest_for_all else None)
    until = query.until or datetime.now(UTC)
    if since is not None and (until - since) / timedelta(seconds=bar_seconds) > MOST_BARS:
        raise QueryError("interval", f"makes more than {MOST_BARS} bars; give a later since, or a longer interval")


def _searched(officer: Officer, query: TurnQuery, **more: str | float | bool) -> Entry:
    detail: Detail = {**query.filters(), **more}
    if query.text:
        detail["text_characters"] = len(query.text)
    return access_entry(officer, Kind.ACCESS_SEARCH, detail, query=query.text)


def _read(officer: Officer, turn_id: str, detail: Detail) -> Entry:
    return access_entry(officer, Kind.ACCESS_READ, detail, turn_id=turn_id)
