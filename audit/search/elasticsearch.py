"""Search in Elasticsearch: candidates by one index query, then each turn judged by the newest record of it there.

The newest document of a turn, of texts as of all else, knows whatever may be asked: the closing one has the texts,
verdicts and facets of the whole turn (`audit.elastic.projection`), that of a running turn all there is yet.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from audit.canonical import column, leaf_hash
from audit.elastic.families import AUDIT, CONTENT
from audit.elastic.projection import document_id, leaf_in
from audit.elastic.turns import CLOSED, OPENED
from audit.ports import AuditIntegrityError, TurnSummary
from audit.record import Entry
from audit.rows import microseconds
from audit.search.ports import (
    ALTERED,
    MOST_VALUES,
    Bar,
    Count,
    Counts,
    Position,
    SearchInexactError,
    SearchUnavailableError,
    TurnPage,
)
from audit.search.query import Order, TurnQuery
from audit.trail import checked_entry, summary_of

SOURCE = "elasticsearch"
ROUNDS = 20
"""Requests for candidates that one page makes at most."""
CANDIDATES = 200
"""Turns that one of them asks for, after the first."""
SHARD_VALUES = 10_000
"""Most frequent values that each month tells of a facet; with fewer, one that is rare in each month would be lost."""
_MOST_INDICES = 10_000
_DOCUMENTS = 2
"""Documents of one turn that a search finds: of its first and of its closing record."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = _EPOCH, datetime(2262, 1, 1, tzinfo=UTC)
"""Times that the server's type `date_nanos` holds."""
_FIELDS = {
    "subject": "subject",
    "conversation_id": "conversation",
    "group": "group",
    "role": "role",
    "model": "model",
    "verdict": "verdict",
    "category": "category",
    "rule": "rule",
}
_OF_TURNS = {"terms": {"attest.turn.state": [OPENED, CLOSED]}}
"""The condition on the first and closing documents of turns."""
_CHANGING = ("verdict", "category", "rule")
"""Filters whose answer a turn's closing record may change."""
_OPENED = "attest.turn.opened"
_OPENED_FORMAT = "strict_date_optional_time_nanos"


class _Turn(msgspec.Struct):
    """What the server holds of one turn."""

    opened: dict[str, Any] | None = None
    closed: dict[str, Any] | None = None


class ElasticTurnSearch:
    """Search over what was delivered. Implements `audit.search.ports.TurnSearch`."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        """`client` may read both families (role `attest_compliance`)."""
        self._client = client

    async def page(self, query: TurnQuery, after: Position | None, limit: int) -> TurnPage:
        """Return the next turns; see `audit.search.ports.TurnSearch`."""
        found: list[TurnSummary] = []
        wanted = limit  # most candidates hold; where they do not, more at once
        for _ in range(ROUNDS):
            candidates, more = await self._candidates(query, after, wanted)
            turns = await self._turns([one.id for one in candidates])
            wanted = CANDIDATES
            for position in candidates:
                after = position
                turn = turns.get(position.id)
                if turn is not None and _holds(turn, query):
                    found.append(_summary(position, turn))
                if len(found) == limit:
                    end = not more and position == candidates[-1]
                    return TurnPage(tuple(found), None if end else position, SOURCE)
            if not more:
                return TurnPage(tuple(found), None, SOURCE)
        return TurnPage(tuple(found), after, SOURCE)

    async def counts(self, query: TurnQuery, bar_seconds: int) -> Counts:
        """Count turns; see `audit.search.ports.TurnSearch`."""
        values = {name: _terms(name) for name in ("verdict", "category", "rule", "group")}
        interval = {"field": _OPENED, "fixed_interval": f"{bar_seconds}s", "min_doc_count": 1}
        bars = {"date_histogram": interval, "aggs": {"verdict": _terms("verdict")}}
        closed: dict[str, Any] = {"term": {"attest.turn.state": CLOSED}}
        answer = await self._search(
            index=AUDIT.pattern,
            size=0,
            track_total_hits=True,
            query={"bool": {"filter": [closed, *_filters(query)]}},
            aggs={**values, "bars": bars},
        )
        found = answer.get("aggregations", {})
        return Counts(
            turns=answer["hits"]["total"]["value"],
            verdicts=_counted(found.get("verdict")),
            categories=_counted(found.get("category")),
            rules=_counted(found.get("rule")),
            groups=_counted(found.get("group")),
            bar_seconds=bar_seconds,
            bars=tuple(
                Bar(_EPOCH + timedelta(milliseconds=one["key"]), one["doc_count"], _counted(one["verdict"]))
                for one in found.get("bars", {}).get("buckets", [])
            ),
        )

    async def indices(self) -> frozenset[str]:
        """Return the names of the months' indices that hold anything. Raises `SearchUnavailableError`."""
        answer = await self._search(
            index=f"{AUDIT.pattern},{CONTENT.pattern}",
            size=0,
            terminate_after=1,  # of each shard, whatever it holds
            track_total_hits=False,
            aggs={"indices": {"terms": {"field": "_index", "size": _MOST_INDICES}}},
        )
        found = answer.get("aggregations", {}).get("indices", {})
        return frozenset(one["key"] for one in found.get("buckets", []))

    async def _candidates(self, query: TurnQuery, after: Position | None, most: int) -> tuple[list[Position], bool]:
        """Return at most so many turns that may match, each once and in order, and whether there are more."""
        size = _DOCUMENTS * most + 1
        texts = [{"match_phrase": {"attest.search": query.text}}] if query.text else []
        order = "desc" if query.order is Order.NEWEST else "asc"
        more = {"search_after": [_written(after.at_us), after.id]} if after is not None else {}
        answer = await self._search(
            index=(CONTENT if texts else AUDIT).pattern,
            size=size,
            query={"bool": {"filter": [*_filters(query), _OF_TURNS, *texts]}},
            sort=[
                {_OPENED: {"order": order, "format": _OPENED_FORMAT, "unmapped_type": "date_nanos"}},
                {"attest.turn.id": {"order": order, "unmapped_type": "keyword"}},
            ],
            stored_fields="_none_",  # what they are sorted by says it all, and no document need be unpacked
            track_total_hits=False,
            **more,
        )
        hits = [hit["sort"] for hit in answer["hits"]["hits"]]
        positions = dict.fromkeys(Position(_read(opened), turn_id) for opened, turn_id in hits)
        return list(positions)[:most], len(positions) > most or len(hits) == size

    async def _turns(self, ids: Sequence[str]) -> dict[str, _Turn]:
        """Return the first and the closing document of turns."""
        if not ids:
            return {}
        turns = {turn_id: _Turn() for turn_id in ids}
        answer = await self._search(
            index=AUDIT.pattern,
            size=2 * _DOCUMENTS * len(ids),
            query={"bool": {"filter": [{"terms": {"attest.turn.id": list(ids)}}, _OF_TURNS]}},
            source_includes=["event.original", "attest.turn"],
            track_total_hits=False,
        )
        for hit in answer["hits"]["hits"]:
            turn = hit["_source"]["attest"]["turn"]
            setattr(turns[turn["id"]], turn["state"], hit)
        return {turn_id: turn for turn_id, turn in turns.items() if turn.opened or turn.closed}

    async def _search(self, **request: Any) -> Any:
        try:
            answer = await self._client.search(**request)
        except (ApiError, TransportError) as error:
            raise SearchUnavailableError(type(error).__name__) from error
        if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
            raise SearchUnavailableError("incomplete")
        return answer.body


def _changing(query: TurnQuery) -> list[str]:
    """Return what the query asks for and a closing record may change."""
    return [name for name in _CHANGING if getattr(query, name)]


def _filters(query: TurnQuery) -> list[dict[str, Any]]:
    """Return the conditions on `attest.turn`: values, never a query language."""
    found: list[dict[str, Any]] = [
        {"term": {f"attest.turn.{field}": column(value)}}
        for name, field in _FIELDS.items()
        if (value := getattr(query, name))
    ]
    times = {"gte": query.since, "lt": query.until}
    bounds = {
        name: _written(microseconds(min(max(moment, _FIRST), _LAST)))
        for name, moment in times.items()
        if moment is not None
    }
    if bounds:
        found.append({"range": {_OPENED: {**bounds, "format": _OPENED_FORMAT}}})
    return found


def _holds(turn: _Turn, query: TurnQuery) -> bool:
    """Whether the newest record of a turn has what may have changed since it was opened."""
    newest = turn.closed or turn.opened
    fields: Mapping[str, Any] = newest["_source"]["attest"]["turn"] if newest else {}
    return all(_has(fields.get(_FIELDS[name]), column(getattr(query, name))) for name in _changing(query))


def _has(held: object, value: str) -> bool:
    return value in held if isinstance(held, list) else held == value


def _summary(position: Position, turn: _Turn) -> TurnSummary:
    """Return a turn's line from its leaves; what is not as it was written is listed all the same, and says so."""
    try:
        closing = _entry(turn.closed) if turn.closed else None
        opening = _entry(turn.opened) if turn.opened else closing
    except (AuditIntegrityError, ValueError):
        opening = closing = None
    if opening is None or column(opening.turn_id) != position.id:
        newest = turn.closed or turn.opened or {"_source": {"attest": {"turn": {}}}}
        subject = str(newest["_source"]["attest"]["turn"].get("subject", ""))
        at = _EPOCH + timedelta(microseconds=position.at_us)
        return TurnSummary(turn_id=position.id, at=at, subject=subject, verdict="", reason=ALTERED)
    return summary_of(opening, closing)


def _entry(hit: dict[str, Any]) -> Entry:
    leaf = leaf_in(hit["_source"])
    if document_id(leaf_hash(leaf)) != hit["_id"]:
        raise AuditIntegrityError("a document holds another leaf than its id says")
    return checked_entry(leaf, leaf_hash(leaf))


def _terms(name: str) -> dict[str, Any]:
    order = [{"_count": "desc"}, {"_key": "asc"}]
    field = f"attest.turn.{_FIELDS[name]}"
    return {"terms": {"field": field, "size": MOST_VALUES, "shard_size": SHARD_VALUES, "order": order}}


def _counted(aggregation: Any) -> tuple[Count, ...]:
    """Return the values with their turns. Raises `SearchInexactError` where a shard left out what might count."""
    if not aggregation:
        return ()
    if aggregation["doc_count_error_upper_bound"]:
        raise SearchInexactError("too many values")
    return tuple(Count(one["key"], one["doc_count"]) for one in aggregation["buckets"])


def _written(at_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _read(written: str) -> int:
    return microseconds(datetime.fromisoformat(written))
