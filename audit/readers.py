"""Reading the log from SQL: lists from the projection, evidence from leaves and decrypted texts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from sqlalchemy import Row, Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.canonical import bytes_text, column
from audit.keys import KeyFileError, MasterKey, decrypt
from audit.ports import AuditIntegrityError, AuditUnavailableError, TurnFilter, TurnSummary, TurnTrail
from audit.record import Content, Entry
from audit.ring import KeyRing
from audit.rows import content_about, microseconds
from audit.tables import AUDIT_CONTENT, AUDIT_ENTRY, AUDIT_TEXT, AUDIT_TURN, SUBJECT_KEY
from audit.trail import OpenedRecord, checked_content, checked_entry, summary_of, trail_of

PAGE = 500
MOST_LISTED = 10_000


class TurnEnds(msgspec.Struct, frozen=True):
    """What stands in SQL of a turn's first and closing record."""

    turn_id: str
    opened_us: int
    subject: str
    leaf: bytes
    leaf_hash: bytes
    closed_leaf: bytes | None
    closed_hash: bytes | None

    def summary(self) -> TurnSummary:
        """Return what a list says of the turn. Raises `AuditIntegrityError` for a leaf that was altered."""
        closing = None
        if self.closed_leaf is not None and self.closed_hash is not None:
            closing = checked_entry(self.closed_leaf, self.closed_hash)
        return summary_of(checked_entry(self.leaf, self.leaf_hash), closing)


class Readers:
    """Reads what the writers wrote. Raises `AuditUnavailableError` and `AuditIntegrityError`."""

    def __init__(self, engine: AsyncEngine, master: MasterKey) -> None:
        self._engine = engine
        self._master = master

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error

    async def turns(self, which: TurnFilter) -> tuple[TurnSummary, ...]:
        """List turns, newest first."""
        async with self._reading() as connection:
            rows = (await connection.execute(_turns_query(which))).all()
        opening = {row.turn_id: row for row in rows}
        return await asyncio.to_thread(lambda: tuple(_summary(row) for row in opening.values()))

    async def turn(self, turn_id: str) -> TurnTrail | None:
        """Return one turn whole, or None when there is none."""
        return (await self.trails((turn_id,))).get(turn_id)

    async def trails(self, turn_ids: Sequence[str], *, dialogues: bool = True) -> dict[str, TurnTrail]:
        """Return turns whole, by id, those that there are; at most a few hundred at once.

        Without `dialogues` the context that the model was sent is left out: it is most of what has to be read.
        """
        ring = KeyRing(self._master)
        async with self._reading() as connection:
            entries = (await connection.execute(_entries_of(turn_ids))).all()
            contents = (await connection.execute(_contents_of(turn_ids))).all()
            records = await asyncio.to_thread(_open_records, ring, entries, contents)
            wanted = {text_id for record in records for text_id in record.entry.context} if dialogues else set()
            found = [row for part in _parts(sorted(wanted)) for row in (await connection.execute(_texts(part))).all()]
        texts = await asyncio.to_thread(_open_texts, ring, found)
        by_turn: dict[str, list[OpenedRecord]] = {turn_id: [] for turn_id in turn_ids}
        for record in records:
            by_turn.get(record.entry.turn_id, []).append(record)
        trails = {turn_id: trail_of(turn_id, turn, texts) for turn_id, turn in by_turn.items()}
        return {turn_id: trail for turn_id, trail in trails.items() if trail is not None}

    async def contents(self, entry_id: str) -> tuple[Content, ...]:
        """Return the texts of one record that can still be read, of whatever kind it is."""
        ring, entry = KeyRing(self._master), AUDIT_ENTRY.c
        of_entry: Select[tuple[str, bytes, bytes]] = select(entry.entry_id, entry.leaf, entry.leaf_hash)
        of_entry = of_entry.where(entry.entry_id == entry_id, func.length(entry.leaf) > 0)
        async with self._reading() as connection:
            entries = (await connection.execute(of_entry)).all()
            sealed = _sealed().where(AUDIT_CONTENT.c.entry_id == entry_id)
            contents = (await connection.execute(sealed)).all()
        records = await asyncio.to_thread(_open_records, ring, entries, contents)
        return tuple(content for record in records for content in record.contents)

    async def ends(self, turn_columns: Sequence[str]) -> dict[str, TurnEnds]:
        """Return the first and the closing leaf of turns, by the id that columns have (`audit.canonical.column`)."""
        opened, closed, turn = AUDIT_ENTRY.alias("opened"), AUDIT_ENTRY.alias("closed"), AUDIT_TURN.c
        query = (
            select(turn.turn_id, turn.opened_us, turn.subject, opened.c.leaf, opened.c.leaf_hash)
            .add_columns(closed.c.leaf.label("closed_leaf"), closed.c.leaf_hash.label("closed_hash"))
            .join(opened, opened.c.entry_id == turn.opened_entry)
            .outerjoin(closed, closed.c.entry_id == turn.closed_entry)
            .where(turn.turn_id.in_(turn_columns))
        )
        async with self._reading() as connection:
            return {row.turn_id: TurnEnds(*row) for row in (await connection.execute(query)).all()}

    async def entries(self, kinds: tuple[str, ...], limit: int) -> AsyncIterator[Entry]:
        """Yield records of these kinds, oldest first, a page at a time; not those that were pruned."""
        after, left = "", limit
        while left > 0:
            query = select(AUDIT_ENTRY.c.entry_id, AUDIT_ENTRY.c.leaf, AUDIT_ENTRY.c.leaf_hash)
            query = query.where(AUDIT_ENTRY.c.entry_id > after).order_by(AUDIT_ENTRY.c.entry_id).limit(min(PAGE, left))
            if kinds:
                query = query.where(AUDIT_ENTRY.c.kind.in_(kinds))
            async with self._reading() as connection:
                rows = (await connection.execute(query)).all()
            for row in rows:
                if row.leaf:
                    yield checked_entry(row.leaf, row.leaf_hash)
            if len(rows) < min(PAGE, left):
                return
            after, left = rows[-1].entry_id, left - len(rows)

    async def writers_of_open_turns(self) -> tuple[str, ...]:
        """Return the writers that have turns without a closing record."""
        query = select(AUDIT_TURN.c.writer_id).where(AUDIT_TURN.c.closed_entry.is_(None)).distinct()
        async with self._reading() as connection:
            return tuple((await connection.execute(query)).scalars())

    async def open_turns(self, writer_id: str) -> tuple[Entry, ...]:
        """Return the opening records of a writer's turns that have no closing record."""
        query = (
            select(AUDIT_ENTRY.c.leaf, AUDIT_ENTRY.c.leaf_hash)
            .join(AUDIT_TURN, AUDIT_TURN.c.opened_entry == AUDIT_ENTRY.c.entry_id)
            .where(AUDIT_TURN.c.closed_entry.is_(None), AUDIT_TURN.c.writer_id == writer_id)
            .order_by(AUDIT_ENTRY.c.entry_id)
        )
        async with self._reading() as connection:
            return tuple(checked_entry(row.leaf, row.leaf_hash) for row in (await connection.execute(query)).all())

    async def delivered_length(self, turn_id: str) -> int:
        """Return the code points that the records of a turn say were released."""
        query = _entries_of((turn_id,)).where(AUDIT_ENTRY.c.kind == "turn.released")
        async with self._reading() as connection:
            rows = (await connection.execute(query)).all()
        return sum(checked_entry(row.leaf, row.leaf_hash).length for row in rows)


def _turns_query(which: TurnFilter) -> Select[tuple[str, bytes, bytes, bytes, bytes]]:
    opened, closed, turn = AUDIT_ENTRY.alias("opened"), AUDIT_ENTRY.alias("closed"), AUDIT_TURN.c
    query = (
        select(
            turn.turn_id,
            opened.c.leaf.label("opened_leaf"),
            opened.c.leaf_hash.label("opened_hash"),
            closed.c.leaf.label("closed_leaf"),
            closed.c.leaf_hash.label("closed_hash"),
        )
        .join(opened, opened.c.entry_id == turn.opened_entry)
        .outerjoin(closed, closed.c.entry_id == turn.closed_entry)
        .order_by(turn.opened_us.desc(), turn.turn_id.desc())
        .limit(max(0, min(which.limit, MOST_LISTED)))
    )
    for wanted, held in (
        (which.subject, turn.subject),
        (which.conversation_id, turn.conversation_id),
        (which.verdict, turn.verdict),
    ):
        if wanted:
            query = query.where(held == column(wanted))
    if which.since is not None:
        query = query.where(turn.opened_us >= microseconds(which.since))
    if which.until is not None:
        query = query.where(turn.opened_us < microseconds(which.until))
    return query


def _entries_of(turn_ids: Sequence[str]) -> Select[tuple[str, bytes, bytes]]:
    entry = AUDIT_ENTRY.c
    query = select(entry.entry_id, entry.leaf, entry.leaf_hash)
    return query.where(entry.turn_id.in_(_columns(turn_ids)), entry.turn_id != "").order_by(entry.entry_id)


def _columns(turn_ids: Sequence[str]) -> list[str]:
    return [column(turn_id) for turn_id in turn_ids]


def _contents_of(turn_ids: Sequence[str]) -> Select[tuple[str, int, bytes, bytes, str, str, bytes]]:
    return _sealed().where(AUDIT_ENTRY.c.turn_id.in_(_columns(turn_ids)), AUDIT_ENTRY.c.turn_id != "")


def _sealed() -> Select[tuple[str, int, bytes, bytes, str, str, bytes]]:
    """Ask for texts of records whose keys stand."""
    content, key = AUDIT_CONTENT.c, SUBJECT_KEY.c
    return (
        select(
            content.entry_id, content.ordinal, content.wrapped_key, content.sealed, key.key_id, key.subject, key.wrapped
        )
        .join(AUDIT_ENTRY, AUDIT_ENTRY.c.entry_id == content.entry_id)
        .join(SUBJECT_KEY, key.key_id == content.key_id)
        .where(key.destroyed_us.is_(None))
        .order_by(content.entry_id, content.ordinal)
    )


def _texts(text_ids: Sequence[str]) -> Select[tuple[str, bytes, bytes, str, str, bytes]]:
    text, key = AUDIT_TEXT.c, SUBJECT_KEY.c
    return (
        select(text.text_id, text.wrapped_key, text.sealed, key.key_id, key.subject, key.wrapped)
        .join(SUBJECT_KEY, key.key_id == text.key_id)
        .where(text.text_id.in_(text_ids), key.destroyed_us.is_(None))
    )


def _summary(row: Row[tuple[str, bytes, bytes, bytes, bytes]]) -> TurnSummary:
    opening = checked_entry(row.opened_leaf, row.opened_hash)
    closing = checked_entry(row.closed_leaf, row.closed_hash) if row.closed_leaf is not None else None
    return summary_of(opening, closing)


def _open_records(
    ring: KeyRing,
    entries: Sequence[Row[tuple[str, bytes, bytes]]],
    contents: Sequence[Row[tuple[str, int, bytes, bytes, str, str, bytes]]],
) -> tuple[OpenedRecord, ...]:
    records = {row.entry_id: checked_entry(row.leaf, row.leaf_hash) for row in entries}
    texts: dict[str, list[Content]] = {entry_id: [] for entry_id in records}
    for row in contents:
        entry = records.get(row.entry_id)
        if entry is None:
            continue  # written after the records were read
        if row.ordinal >= len(entry.commitments):
            raise AuditIntegrityError(f"record {row.entry_id} has a text that its leaf does not know")
        try:
            key = ring.open(row.key_id, row.subject, row.wrapped)
            record_key = key.record_key(row.wrapped_key, row.entry_id.encode())
            about = content_about(row.entry_id, entry.commitments[row.ordinal].name)
            opened = decrypt(record_key, row.sealed, about)
        except InvalidTag:
            raise AuditIntegrityError(f"text {row.ordinal} of record {row.entry_id} was altered") from None
        except KeyFileError as error:
            raise AuditUnavailableError(str(error)) from None
        texts[row.entry_id].append(checked_content(entry, row.ordinal, opened))
    return tuple(OpenedRecord(entry, tuple(texts[entry_id])) for entry_id, entry in records.items())


def _open_texts(ring: KeyRing, rows: Iterable[Row[tuple[str, bytes, bytes, str, str, bytes]]]) -> dict[str, Content]:
    texts = {}
    for row in rows:
        try:
            key = ring.open(row.key_id, row.subject, row.wrapped)
            about = row.text_id.encode()
            data = decrypt(key.record_key(row.wrapped_key, about), row.sealed, about)
        except InvalidTag:
            raise AuditIntegrityError(f"dialogue text {row.text_id} was altered") from None
        role, _, text = data.partition(b"\x00")
        if key.text_id(bytes_text(role), text) != row.text_id:
            raise AuditIntegrityError(f"dialogue text {row.text_id} was altered")
        texts[row.text_id] = Content(name="context", role=bytes_text(role), text=bytes_text(text))
    return texts


def _parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + PAGE] for start in range(0, len(ids), PAGE))
