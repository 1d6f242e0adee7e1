"""Delivery to Elasticsearch: bulk `create`, so that a document is made once and never overwritten."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
from elastic_transport import ConnectionError as NotConnectedError
from elastic_transport import ConnectionTimeout, SerializationError, TransportError
from elasticsearch import ApiError, AsyncElasticsearch, UnsupportedProductError

from audit.sinks.ports import Answer, Fate, Parcel, SinkUnavailableError

LARGEST_REQUEST = 2**20 - 1
"""Bytes of one request at most, unless a single document has more. Above that aiohttp warns, for it hands a body to the
socket in one piece; and a server that is short of memory refuses small requests last."""
_BAD, _TOO_LARGE, _SERVER = 400, 413, 500
_MADE = {201: Fate.CREATED, 409: Fate.PRESENT}
_CODE = re.compile("[a-z][a-z_]{0,79}")
_SHARDS_S = "30s"
_ANSWER = "errors,items.*.status,items.*.error.type,items.*.error.reason"
_AUTO_CREATE = "indices:admin/auto_create"
_NOT_THE_DOCUMENTS_FAULT: dict[int | str, str] = {
    401: "unauthorized",
    403: "forbidden",
    404: "index_missing",
    429: "busy",
    "cluster_block_exception": "index_read_only",
    "index_closed_exception": "index_closed",
}
"""Statuses and codes that speak of the place, not of the document → our word for them."""


class ElasticsearchSink:
    """A sink on Elasticsearch's bulk API. See `audit.sinks.ports.Sink`."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        """`client` needs what the role `attest_writer` may, and nothing else."""
        self._client = client

    async def deliver(self, parcels: Sequence[Parcel]) -> tuple[Answer, ...]:
        """Send documents, in requests of bounded size, together: the server syncs its disk for several at once.

        A request that is refused as a whole is halved until the document at fault is alone.
        """
        sending = [self._send(lines) for lines in _requests([_lines(one) for one in parcels])]
        answers: list[Answer] = []
        for done in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
            answers += done
        return tuple(answers)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def _send(self, lines: Sequence[bytes]) -> tuple[Answer, ...]:
        try:
            answer = await self._client.bulk(operations=cast("Any", lines), timeout=_SHARDS_S, filter_path=_ANSWER)
        except ApiError as error:
            status = error.meta.status
            if status not in {_BAD, _TOO_LARGE}:
                raise _unavailable(status, error) from error
            if len(lines) == 1:
                return (Answer(Fate.REFUSED, f"{'too_large' if status == _TOO_LARGE else 'not_accepted'} {status}"),)
            half = len(lines) // 2
            return await self._send(lines[:half]) + await self._send(lines[half:])
        except TransportError as error:
            raise SinkUnavailableError(_why(error)) from error
        items = answer.body.get("items", [])
        if len(items) != len(lines):
            raise SinkUnavailableError("unreadable")
        return tuple(_answer(item.get("create", {})) for item in items)


def _requests(lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut the lines of documents into requests; each line is sent with its end."""
    begin = size = 0
    for at, line in enumerate(lines):
        if at > begin and size + len(line) > LARGEST_REQUEST:
            yield lines[begin:at]
            begin, size = at, 0
        size += len(line)
    if lines:
        yield lines[begin:]


def _lines(parcel: Parcel) -> bytes:
    """Return the two lines of a document: what to do, and the document."""
    action = {"_index": parcel.index, **({"_id": parcel.id} if parcel.id else {})}
    return b"%b\n%b\n" % (msgspec.json.encode({"create": action}), parcel.body)


def _answer(item: dict[str, Any]) -> Answer:
    """Return what became of one document. What the server says beside a code may quote it and goes no further."""
    status = item.get("status", 0)
    if status in _MADE:
        return Answer(_MADE[status])
    error = item.get("error", {})
    kind = str(error.get("type", ""))
    if _AUTO_CREATE in str(error.get("reason", "")):
        reason = "index_missing"
    else:
        reason = _NOT_THE_DOCUMENTS_FAULT.get(kind) or _NOT_THE_DOCUMENTS_FAULT.get(status, "")
    if not reason and _BAD <= status < _SERVER:
        return Answer(Fate.REFUSED, f"{kind if _CODE.fullmatch(kind) else 'refused'} {status}")
    return Answer(Fate.LATER, f"{reason or 'server_error'} {status}")


def _unavailable(status: int, error: ApiError) -> SinkUnavailableError:
    if isinstance(error, UnsupportedProductError):
        return SinkUnavailableError("not_elasticsearch")
    asked = error.meta.headers.get("retry-after") or ""
    reason = _NOT_THE_DOCUMENTS_FAULT.get(status, "server_error")
    return SinkUnavailableError(f"{reason} {status}", float(asked) if asked.isdigit() else 0.0)


def _why(error: TransportError) -> str:
    if isinstance(error, ConnectionTimeout):
        return "timeout"
    if isinstance(error, NotConnectedError):
        return "unreachable"
    return "unreadable" if isinstance(error, SerializationError) else "transport"
