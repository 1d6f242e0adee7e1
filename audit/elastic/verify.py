"""Verification of Elasticsearch against the log: every document, and every field that can be searched.

The log says which documents there must be (`audit.elastic.projection`); what is missing, there twice, altered,
forged or no longer equal to its projection is named. The database itself is held to its signatures by
`audit.verification`.
Scans a point in time, by sequence; a document that the scan does not show yet is asked for by its id.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.canonical import leaf_hash
from audit.elastic.comparison import TURN, Hit, differences, foreign_mappings, foreign_settings, made_at, normal
from audit.elastic.expected import Expected, PrunedRecords, leaf_of
from audit.elastic.families import AUDIT, CONTENT, Family, next_month
from audit.elastic.projection import Record, document_id, metadata_document
from audit.elastic.rows import DocumentMaker, LogRow, read_rows, sizes_of
from audit.elastic.scan import Scan, point_in_time
from audit.keys import MasterKey
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.record import CLOSING_KINDS
from audit.ring import KeyRing
from audit.sinks.ports import Document
from audit.tables import AUDIT_ENTRY, OUTBOX
from audit.trail import checked_entry
from audit.verification.opening import snapshot
from audit.verify import Finding, Report

_RECORDS = 500
"""Records at once, unless they are large."""
_SIZE_BYTES = 8 * 2**20
_MOST_NAMED = 10_000
_CLOSING = frozenset(kind.value for kind in CLOSING_KINDS)


class StoreSummary(msgspec.Struct, frozen=True):
    """What was verified."""

    ok: bool
    findings: int
    records: int
    """Records of the log that have their place."""
    documents: int
    """Documents that were compared."""
    undelivered: int
    """Records that still wait for delivery; they may be absent."""
    expired: int
    """Records whose whole month has left the store."""
    texts: bool
    """Whether the documents of texts were compared too, which takes the master key."""


class StoreVerifier:
    """Verifies one store against one log. Raises `AuditUnavailableError` when either cannot be read."""

    def __init__(
        self,
        client: AsyncElasticsearch,
        engine: AsyncEngine,
        master: MasterKey | None,
        show: Callable[[Finding], None],
        keep: timedelta,
    ) -> None:
        """`client` needs `read` and `view_index_metadata` on both families, and nothing else.

        `keep`: how long after its end a month stays in the store; only then may it be gone.
        """
        self._client = client
        self._engine = engine
        self._ring = KeyRing(master) if master is not None else None
        self._report = Report(show)
        self._keep = keep
        self._pruned = PrunedRecords()
        self._families = (AUDIT, CONTENT) if master is not None else (AUDIT,)
        self._records = self._documents = self._undelivered = self._expired = 0
        self._made: dict[str, datetime] = {}  # when each index was made

    async def run(self) -> StoreSummary:
        """Compare everything once."""
        try:
            for family in self._families:
                await self._look_at_indices(family)
            async with contextlib.AsyncExitStack() as stack:
                scans = {
                    family.name: await stack.enter_async_context(point_in_time(self._client, family))
                    for family in self._families
                }
                # The log is read after the store was: what the store holds, the log must know.
                async with snapshot(self._engine) as connection:
                    size = await self._compare_all(connection, scans)
                for family in self._families:
                    await self._name_strangers(scans[family.name], family, size)
        except ApiError as error:
            raise AuditUnavailableError(f"Elasticsearch cannot be verified (HTTP {error.meta.status}).") from error
        except TransportError as error:
            raise AuditUnavailableError(f"Elasticsearch cannot be read ({type(error).__name__}).") from error
        return StoreSummary(
            ok=not self._report.count,
            findings=self._report.count,
            records=self._records,
            documents=self._documents,
            undelivered=self._undelivered,
            expired=self._expired,
            texts=self._ring is not None,
        )

    async def _look_at_indices(self, family: Family) -> None:
        mappings = (await self._client.indices.get_mapping(index=family.pattern)).body
        if not mappings:  # a pattern that matches nothing that may be read is not refused
            raise AuditUnavailableError(
                f"There is no index {family.pattern} that may be read: run attest audit bootstrap, "
                "or give the identity of ATTEST_ELASTICSEARCH_VERIFIER the role attest_verifier."
            )
        settings = (await self._client.indices.get_settings(index=family.pattern)).body
        self._made |= {name: made_at(settings.get(name, {})) for name in mappings}
        for index, what in (*foreign_mappings(family, mappings), *foreign_settings(settings)):
            self._report.add("mapping", f"index {index}: {what}: searches may not see what is stored")

    async def _compare_all(self, connection: AsyncConnection, scans: dict[str, "Scan"]) -> int:
        newest = (await connection.execute(select(func.max(AUDIT_ENTRY.c.leaf_index)))).scalar()
        size = 0 if newest is None else newest + 1
        for begin in range(0, size, _RECORDS):
            async for rows in _read(connection, begin, min(begin + _RECORDS, size)):
                waiting = await _waiting(connection, [row.entry_id for row, _ in rows])
                expected = await asyncio.to_thread(self._expected, rows)
                self._records += len(expected)
                for family in self._families:
                    found = await self._found(scans[family.name], expected)
                    if family is AUDIT:
                        expected = await asyncio.to_thread(self._recalled, expected, found)
                    await self._compare(family, expected, found, waiting)
        return size

    def _expected(self, rows: Sequence[tuple[LogRow, datetime]]) -> list[Expected]:
        maker = DocumentMaker(self._ring) if self._ring is not None else None
        return [self._expect(row, at, maker) for row, at in rows]

    def _expect(self, row: LogRow, at: datetime, maker: DocumentMaker | None) -> Expected:
        documents: tuple[Document, ...] = ()
        try:
            documents = maker.make(row) if maker is not None else _metadata_of(row)
        except AuditIntegrityError as error:
            self._report.add("log", f"{error}: verify the database", row.leaf_index)
        names = (AUDIT.name, CONTENT.name)
        kind = documents[0].source["event"]["action"] if documents else ""
        return Expected(
            index=row.leaf_index,
            entry_id=row.entry_id,
            leaf_hash=row.leaf_hash,
            at=at,
            pruned=not documents,
            documents=dict(zip(names, documents, strict=False)),
            untold=() if kind not in _CLOSING or row.opening is not None else (TURN,),
        )

    def _recalled(self, expected: Sequence[Expected], found: dict[int, list[Hit]]) -> list[Expected]:
        return [self._pruned.expect(one, found[one.index]) if one.pruned else one for one in expected]

    async def _found(self, scan: "Scan", expected: Sequence[Expected]) -> dict[int, list[Hit]]:
        """Return the documents that stand at the places of some records."""
        found: dict[int, list[Hit]] = {one.index: [] for one in expected}
        async for hit in scan.between(expected[0].index, expected[-1].index + 1):
            if hit.sequence in found:
                found[hit.sequence].append(hit)
            else:
                self._report.add("extra", f"document {hit.id} in {hit.index} has more than one place in the log")
        return found

    async def _compare(
        self, family: Family, expected: Sequence[Expected], found: dict[int, list[Hit]], waiting: frozenset[str]
    ) -> None:
        compared = [(one, self._compare_one(family, one, found[one.index])) for one in expected]
        wanted = [one for one, there in compared if not there and family.name in one.documents]
        absent = [one for one in wanted if family.name not in one.may_lack]
        asked = await self._ask(family, absent)
        for one in absent:
            if (late := asked.get(one.documents[family.name].id)) is None:
                self._is_absent(family, one, waiting)
            else:
                self._compare_one(family, one, [late])

    def _compare_one(self, family: Family, one: Expected, hits: Iterable[Hit]) -> bool:
        """Compare what was found of a record; whether its document is among it."""
        wanted, there = one.documents.get(family.name), False
        for hit in hits:
            self._documents += 1
            if wanted is not None and (hit.id, hit.index) == (wanted.id, wanted.index):
                there = True
                self._compare_fields(one, wanted, hit)
            else:
                self._name_stranger(family, one, wanted, hit)
        return there

    def _compare_fields(self, one: Expected, wanted: Document, hit: Hit) -> None:
        names = differences(normal(wanted.source), hit.source, one.untold)
        if "event.original" in names:
            what = f"document {hit.id} in {hit.index} does not hold the leaf that was logged"
            self._report.add("altered", what, one.index)
        elif names:
            what = f"document {hit.id} in {hit.index} says something else than the leaf: {', '.join(names[:10])}"
            self._report.add("projection", what, one.index)

    def _name_stranger(self, family: Family, one: Expected, wanted: Document | None, hit: Hit) -> None:
        """Say what a document is that stands at a record's place and is not the record's own."""
        where, leaf = f"document {hit.id} in {hit.index}", leaf_of(hit)
        if hit.id == document_id(one.leaf_hash) and wanted is None:
            if not one.pruned:
                self._report.add("content", f"{where} holds texts that were erased or never were", one.index)
            elif family is AUDIT:
                self._report.add("altered", f"{where} does not hold the leaf that was logged", one.index)
        elif hit.id == document_id(one.leaf_hash):
            self._report.add("duplicate", f"{where} stands in the wrong month", one.index)
        elif leaf is not None and leaf_hash(leaf) == one.leaf_hash:
            self._report.add("duplicate", f"{where} is a second one of it, under an id that is not its", one.index)
        else:
            self._report.add("extra", f"{where} is of no record of the log", one.index)

    def _is_absent(self, family: Family, one: Expected, waiting: frozenset[str]) -> None:
        wanted = one.documents[family.name]
        if one.entry_id in waiting:
            self._undelivered += family is AUDIT
        elif self._is_over(wanted.index, one.at):
            self._expired += family is AUDIT
        else:
            self._report.add("missing", f"document {wanted.id} is not in {wanted.index}", one.index)

    def _is_over(self, index: str, at: datetime) -> bool:
        """Whether a month was to leave the store and did.

        An index that was made after that time was made for records that still waited then, and has no others.
        """
        leaves = next_month(at) + self._keep
        return leaves <= datetime.now(UTC) and self._made.get(index, leaves) >= leaves

    async def _ask(self, family: Family, absent: Sequence[Expected]) -> dict[str, Hit]:
        """Ask for documents by their ids: what was written a moment ago is there before a scan shows it."""
        documents = [one.documents[family.name] for one in absent]
        wanted = [one for one in documents if one.index in self._made]
        if not wanted:
            return {}
        answer = await self._client.mget(docs=[{"_index": one.index, "_id": one.id} for one in wanted])
        return {one["_id"]: Hit.of(one) for one in answer.body["docs"] if one.get("found")}

    async def _name_strangers(self, scan: "Scan", family: Family, size: int) -> None:
        """Name documents that stand at no place of the log."""
        count = 0
        async for hit in scan.outside(size):
            self._documents += 1
            self._report.add("extra", f"document {hit.id} in {hit.index} has no place in the log")
            count += 1
            if count == _MOST_NAMED:
                self._report.add("extra", f"more documents of {family.name} have no place; no more are named")
                return


async def _read(connection: AsyncConnection, begin: int, end: int) -> AsyncIterator[list[tuple[LogRow, datetime]]]:
    """Yield records in the order of their places, in parts that fit into memory."""
    entry = AUDIT_ENTRY.c
    query = select(entry.entry_id, entry.at_us).where(entry.leaf_index >= begin, entry.leaf_index < end)
    times = {row.entry_id: row.at_us for row in (await connection.execute(query.order_by(entry.leaf_index))).all()}
    sizes = {one.entry_id: one.size_bytes for one in await sizes_of(connection, list(times))}
    part: list[str] = []
    total = 0
    for entry_id in (*times, ""):
        if part and (not entry_id or total + sizes[entry_id] > _SIZE_BYTES):
            rows = sorted(await read_rows(connection, part), key=lambda row: row.leaf_index)
            yield [(row, datetime.fromtimestamp(times[row.entry_id] / 1e6, UTC)) for row in rows]
            part, total = [], 0
        if entry_id:
            part.append(entry_id)
            total += sizes[entry_id]


async def _waiting(connection: AsyncConnection, entry_ids: Sequence[str]) -> frozenset[str]:
    query = select(OUTBOX.c.entry_id).where(OUTBOX.c.entry_id.in_(entry_ids))
    return frozenset((await connection.execute(query)).scalars())


def _metadata_of(row: LogRow) -> tuple[Document, ...]:
    """Return the document of metadata alone, for which no key is needed. Raises `AuditIntegrityError`."""
    if not row.leaf:
        return ()
    record = Record(row.leaf_index, row.leaf, checked_entry(row.leaf, row.leaf_hash), row.leaf_hash)
    opening = None
    if row.opening is not None:
        with contextlib.suppress(AuditIntegrityError):
            opening = checked_entry(*row.opening)
    return (metadata_document(record, opening),)
