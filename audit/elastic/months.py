"""Dropping old months from a search store that has no lifecycle policies to do it.

An index goes as a whole once its month ended long enough ago. It stays while a legal hold covers a record of the month,
or one of its records still waits to be delivered; and it is left to the server where a lifecycle policy manages it. The
log itself is not touched: what it keeps can be delivered again.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from sqlalchemy import exists, select

from audit.covered import holds_between
from audit.elastic.families import AUDIT, CONTENT, FAMILIES, next_month
from audit.governing import Governor
from audit.ports import AuditUnavailableError
from audit.rows import microseconds
from audit.tables import AUDIT_ENTRY, OUTBOX

_INDEX = re.compile(rf"({'|'.join(family.name for family in FAMILIES)})-([0-9]{{4}})\.(0[1-9]|1[0-2])")
_EVIDENCE = (AUDIT.name, CONTENT.name)
_GONE = 404


class Months(msgspec.Struct):
    """What a run did, or would do: names of indices."""

    dropped: list[str] = msgspec.field(default_factory=list)
    held: list[str] = msgspec.field(default_factory=list)
    """A legal hold covers a record of the month."""
    undelivered: list[str] = msgspec.field(default_factory=list)
    """A record of the month still waits for delivery, or is a dead letter."""
    managed: list[str] = msgspec.field(default_factory=list)
    """A lifecycle policy of the server drops them."""


class OldMonths:
    """Drops months of one store. Several at once do no harm."""

    def __init__(self, client: AsyncElasticsearch, governor: Governor, keep: timedelta) -> None:
        """`client` needs `delete_index` and `view_index_metadata`; `keep`: how long after its end a month stays."""
        self._client = client
        self._governor = governor
        self._keep = keep

    async def run(self, *, dry: bool = False) -> Months:
        """Drop what is due; with `dry` only say what would be. Raises `AuditUnavailableError`."""
        done = Months()
        try:
            for name, first, end in await self._due(done):
                if name.startswith(_EVIDENCE) and await self._stays(name, first, end, done):
                    continue
                if not dry:
                    await self._drop(name)
                done.dropped.append(name)
        except (ApiError, TransportError) as error:
            code = getattr(error, "status_code", "") or type(error).__name__
            raise AuditUnavailableError(f"Elasticsearch did not drop its old months ({code}).") from None
        return done

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def _due(self, done: Months) -> list[tuple[str, datetime, datetime]]:
        """Return indices whose month ended long enough ago, oldest first, each with its month's bounds."""
        pattern = ",".join(family.pattern for family in FAMILIES)
        answer = await self._client.indices.get_settings(index=pattern, allow_no_indices=True, flat_settings=True)
        due = []
        for name, first, end in sorted(_months(answer.body), key=lambda one: (one[1], one[0])):
            if end + self._keep > datetime.now(UTC):
                continue
            if answer.body[name]["settings"].get("index.lifecycle.name"):
                done.managed.append(name)
            else:
                due.append((name, first, end))
        return due

    async def _stays(self, name: str, first: datetime, end: datetime, done: Months) -> bool:
        begin_us, end_us = microseconds(first), microseconds(end)
        waits = exists().where(
            OUTBOX.c.entry_id == AUDIT_ENTRY.c.entry_id, AUDIT_ENTRY.c.at_us >= begin_us, AUDIT_ENTRY.c.at_us < end_us
        )
        async with self._governor.reading() as connection:
            held = await holds_between(connection, begin_us, end_us)
            waiting = (await connection.execute(select(waits))).scalar()
        if held:
            done.held.append(name)
        elif waiting:
            done.undelivered.append(name)
        return bool(held or waiting)

    async def _drop(self, name: str) -> None:
        try:
            await self._client.indices.delete(index=name)
        except ApiError as error:
            if error.meta.status != _GONE:  # somebody else was quicker
                raise


def _months(names: dict[str, object]) -> Iterator[tuple[str, datetime, datetime]]:
    for name in names:
        if match := _INDEX.fullmatch(name):
            first = datetime(int(match[2]), int(match[3]), 1, tzinfo=UTC)
            yield name, first, next_month(first)
