"""Removing an erased person's texts from Elasticsearch, with an identity that can do this and nothing else."""

from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from audit.elastic.families import CONTENT
from audit.governing import rfc3339
from audit.ports import AuditUnavailableError

_PAGE = 1000
_GONE = 404


class ElasticsearchEraser:
    """Implements `audit.erasure.ContentElsewhere`."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client

    async def erase(self, subject: str, before_us: int) -> int:
        """Delete the documents of texts of a person's records before a time; return how many there were.

        Raises `AuditUnavailableError`, also when a document could not be deleted.
        """
        try:
            return await self._erase(subject, before_us)
        except (ApiError, TransportError) as error:
            code = getattr(error, "status_code", "") or type(error).__name__
            raise AuditUnavailableError(f"Elasticsearch did not delete the person's texts ({code}).") from None

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def _erase(self, subject: str, before_us: int) -> int:
        theirs: list[dict[str, Any]] = [
            {"term": {"user.id": subject}},
            {"range": {"@timestamp": {"lt": rfc3339(before_us)}}},
        ]
        found = 0
        while True:
            await self._client.indices.refresh(index=CONTENT.pattern, allow_no_indices=True)
            answer = await self._client.search(
                index=CONTENT.pattern,
                query={"bool": {"filter": theirs}},
                source=False,
                size=_PAGE,
                allow_no_indices=True,
            )
            hits = answer.body["hits"]["hits"]
            if not hits:
                return found
            operations = [{"delete": {"_index": hit["_index"], "_id": hit["_id"]}} for hit in hits]
            done = await self._client.bulk(operations=operations)
            refused = [
                item["delete"]["status"]
                for item in done.body["items"]
                if item["delete"]["status"] // 100 != 2 and item["delete"]["status"] != _GONE  # noqa: PLR2004 - success
            ]
            if refused:
                raise AuditUnavailableError(f"Elasticsearch did not delete {len(refused)} documents ({refused[0]}).")
            found += len(hits)
