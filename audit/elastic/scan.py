"""Reading documents of one point in time, by their place in the log."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from audit.elastic.comparison import Hit
from audit.elastic.families import Family

_HITS = 1000
_KEPT = "5m"
"""How long a point in time is kept after each request."""


class Scan:
    """Reads documents of one point in time."""

    def __init__(self, client: AsyncElasticsearch, point: str) -> None:
        self._client = client
        self.point = point

    def between(self, begin: int, end: int) -> AsyncIterator[Hit]:
        """Yield the documents whose sequence is from `begin` up to `end`, by sequence."""
        return self._hits({"range": {"event.sequence": {"gte": begin, "lt": end}}}, [{"event.sequence": "asc"}])

    def outside(self, size: int) -> AsyncIterator[Hit]:
        """Yield the documents whose sequence is in no log of this size."""
        within = {"range": {"event.sequence": {"gte": 0, "lt": size}}}
        return self._hits({"bool": {"must_not": [within]}}, [{"_shard_doc": "asc"}])

    async def _hits(self, query: dict[str, Any], sort: list[dict[str, Any]]) -> AsyncIterator[Hit]:
        after: list[Any] | None = None
        while True:
            answer = await self._client.search(
                pit={"id": self.point, "keep_alive": _KEPT},
                query=query,
                sort=sort,
                size=_HITS,
                search_after=after,
                track_total_hits=False,
            )
            self.point = answer.body.get("pit_id", self.point)
            hits = answer.body["hits"]["hits"]
            for hit in hits:
                yield Hit.of(hit)
            if len(hits) < _HITS:
                return
            after = hits[-1]["sort"]


@contextlib.asynccontextmanager
async def point_in_time(client: AsyncElasticsearch, family: Family) -> AsyncIterator[Scan]:
    """Open what a family holds now; writers go on meanwhile. Raises `ApiError`, `TransportError`."""
    opened = await client.open_point_in_time(index=family.pattern, keep_alive=_KEPT)
    scan = Scan(client, opened.body["id"])
    try:
        yield scan
    finally:
        with contextlib.suppress(ApiError, TransportError):
            await client.close_point_in_time(id=scan.point)
