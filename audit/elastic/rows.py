"""From rows of the log to documents: read with the texts that still have a key, checked, decrypted, projected."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from sqlalchemy import Select, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.elastic.projection import OpenedText, Record, both_documents
from audit.keys import decrypt
from audit.ports import AuditIntegrityError
from audit.record import CLOSING_KINDS, Entry, Kind
from audit.ring import KeyRing
from audit.rows import NONCE_BYTES, content_about
from audit.sinks.ports import Document
from audit.tables import AUDIT_CONTENT, AUDIT_ENTRY, AUDIT_TURN, SUBJECT_KEY
from audit.trail import checked_content, checked_entry

_CLOSING = tuple(kind.value for kind in CLOSING_KINDS)
_NO_PARTS = (*_CLOSING, Kind.TURN_MIRRORED.value)
"""Kinds whose texts belong to no other record of the turn; a mirrored answer is nothing that anybody was shown."""
_ASKED = 10_000
"""Most ids of one query; PostgreSQL takes 32,767."""


class SealedText(msgspec.Struct, frozen=True, gc=False):
    """One text of a record, encrypted, with the wrapped key of its subject."""

    entry_id: str
    ordinal: int
    wrapped_key: bytes
    sealed: bytes
    key_id: str
    subject: str
    wrapped: bytes


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """One record as the database holds it, and what its documents need beside it."""

    entry_id: str
    leaf_index: int
    leaf: bytes
    """Empty once pruned."""
    leaf_hash: bytes
    opening: tuple[bytes, bytes] | None = None
    """Leaf and hash of the record that opened the turn which this one closes."""
    texts: tuple[SealedText, ...] = ()
    turn: tuple["LogRow", ...] = ()
    """For a closing record: the earlier records of its turn that have texts, with those."""


class Size(msgspec.Struct, frozen=True):
    """How much memory the documents of a record take, roughly."""

    entry_id: str
    size_bytes: int


async def sizes_of(connection: AsyncConnection, entry_ids: Sequence[str]) -> tuple[Size, ...]:
    """Return the size of records in the order of their ids, so that they can be read in bounded parts."""
    entry, whole = AUDIT_ENTRY.c, AUDIT_ENTRY.alias("whole")
    own = select(func.coalesce(func.sum(func.length(AUDIT_CONTENT.c.sealed)), 0)).where(
        AUDIT_CONTENT.c.entry_id == entry.entry_id
    )
    of_turn = (
        select(func.coalesce(func.sum(func.length(AUDIT_CONTENT.c.sealed)), 0))
        .join(whole, whole.c.entry_id == AUDIT_CONTENT.c.entry_id)
        .where(whole.c.turn_id == entry.turn_id, whole.c.turn_id != "", entry.kind.in_(_CLOSING))
    )
    query = select(entry.entry_id, func.length(entry.leaf), own.scalar_subquery(), of_turn.scalar_subquery()).where(
        entry.entry_id.in_(entry_ids)
    )
    rows = (await connection.execute(query.order_by(entry.entry_id))).all()
    return tuple(Size(entry_id, 3 * leaf + 2 * texts + turn) for entry_id, leaf, texts, turn in rows)


async def read_rows(connection: AsyncConnection, entry_ids: Sequence[str]) -> tuple[LogRow, ...]:
    """Return records with everything that their documents are made of, in the order of their ids."""
    found = await _in_parts(connection, _records, entry_ids)
    rows = {row.entry_id: row for row in found}
    parts = await _part_ids(connection, [row.turn_id for row in found if row.kind in _CLOSING and row.turn_id])
    # Nearly always a turn's records are delivered together: only what lies elsewhere is read for its sake.
    if elsewhere := [one for several in parts.values() for one in several if one not in rows]:
        rows |= {row.entry_id: row for row in await _in_parts(connection, _records, elsewhere)}
    texts: dict[str, list[SealedText]] = {}
    for row in await _in_parts(connection, _texts, list(rows)):
        texts.setdefault(row.entry_id, []).append(SealedText(*row))
    return tuple(
        LogRow(
            *(row.entry_id, row.leaf_index, row.leaf, row.leaf_hash),
            (row.opened_leaf, row.opened_hash) if row.opened_leaf else None,
            tuple(texts.get(row.entry_id, ())),
            _before(row, (rows[part] for part in parts.get(row.turn_id, ())), texts) if row.kind in _CLOSING else (),
        )
        for row in found
    )


async def _in_parts(
    connection: AsyncConnection, query: Callable[[Sequence[str]], Select[Any]], ids: Sequence[str]
) -> list[Any]:
    """Return what a query finds for ids, asked for a bounded number of them at a time: a database takes no more."""
    found: list[Any] = []
    for at in range(0, len(ids), _ASKED):
        found += (await connection.execute(query(ids[at : at + _ASKED]))).all()
    return found


async def _part_ids(connection: AsyncConnection, turn_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return, by turn, the ids of its own records with texts that do not close it and are not pruned.

    Only of those: whoever asks for a turn leaves a record that names it, as often as they like.
    """
    if not turn_ids:
        return {}
    entry = AUDIT_ENTRY.c
    query = (
        select(entry.turn_id, entry.entry_id)
        .where(entry.turn_id.in_(turn_ids), entry.turn_id != "")  # as the index has it
        .where(entry.kind.not_in(_NO_PARTS), func.length(entry.leaf) > 0)
        .where(exists().where(AUDIT_CONTENT.c.entry_id == entry.entry_id))
        .order_by(entry.entry_id)
    )
    found: dict[str, list[str]] = {}
    for turn_id, entry_id in (await connection.execute(query)).all():
        found.setdefault(turn_id, []).append(entry_id)
    return found


def _before(row: Any, parts: Iterable[Any], texts: Mapping[str, Sequence[SealedText]]) -> tuple[LogRow, ...]:
    """Return the parts with texts before a record in the log: what comes later belongs to no document of it."""
    return tuple(
        LogRow(part.entry_id, part.leaf_index, part.leaf, part.leaf_hash, None, tuple(texts[part.entry_id]))
        for part in parts
        if part.entry_id in texts and part.leaf_index is not None and part.leaf_index < row.leaf_index
    )


class DocumentMaker:
    """Makes the documents of records, those of one batch: what several of them need is checked and opened once.

    It keeps what it opened, so it is made anew for each batch, and is not safe across threads.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._entries: dict[tuple[bytes, bytes], Entry] = {}
        self._texts: dict[tuple[str, SealedText], OpenedText] = {}

    def make(self, row: LogRow) -> tuple[Document, ...]:
        """Return the documents of a record: its metadata and, where texts are left, these; none where it is pruned.

        Raises `AuditIntegrityError` when the leaf or a text of it was altered, `audit.keys.KeyFileError` for a wrong
        master key. Other records of the turn that were altered are left out here: each is found altered when its own
        turn comes.
        """
        if not row.leaf:
            return ()
        entry = self._entry(row.leaf, row.leaf_hash)
        record, opening = Record(row.leaf_index, row.leaf, entry, row.leaf_hash), None
        if row.opening:
            with contextlib.suppress(AuditIntegrityError):
                opening = self._entry(*row.opening)
        texts = tuple(self._opened(entry, text) for text in row.texts)
        earlier = [text for part in row.turn for text in self._texts_left(part)]
        return both_documents(record, texts, opening, earlier)

    def _texts_left(self, row: LogRow) -> tuple[str, ...]:
        try:
            entry = self._entry(row.leaf, row.leaf_hash)
            return tuple(self._opened(entry, text).text for text in row.texts)
        except AuditIntegrityError:
            return ()

    def _entry(self, leaf: bytes, digest: bytes) -> Entry:
        entry = self._entries.get((leaf, digest))
        if entry is None:
            entry = self._entries[leaf, digest] = checked_entry(leaf, digest)
        return entry

    def _opened(self, entry: Entry, text: SealedText) -> OpenedText:
        if text.ordinal >= len(entry.commitments):
            raise AuditIntegrityError(f"record {entry.entry_id} has a text that its leaf does not know")
        promise = entry.commitments[text.ordinal]
        opened = self._texts.get((promise.commitment, text))
        if opened is None:
            opened = self._texts[promise.commitment, text] = _open(entry, promise.name, text, self._ring)
        return opened


def _open(entry: Entry, name: str, text: SealedText, ring: KeyRing) -> OpenedText:
    try:
        key = ring.open(text.key_id, text.subject, text.wrapped)
        record_key = key.record_key(text.wrapped_key, text.entry_id.encode())
        opened = decrypt(record_key, text.sealed, content_about(text.entry_id, name))
    except InvalidTag:
        raise AuditIntegrityError(f"text {text.ordinal} of record {entry.entry_id} was altered") from None
    content = checked_content(entry, text.ordinal, opened)
    return OpenedText(content.name, content.role, content.text, opened[:NONCE_BYTES])


def _records(entry_ids: Sequence[str]) -> Select[Any]:
    entry, opened = AUDIT_ENTRY.c, AUDIT_ENTRY.alias("opened")
    return (
        select(
            *(entry.entry_id, entry.leaf_index, entry.leaf, entry.leaf_hash, entry.kind, entry.turn_id),
            *(opened.c.leaf.label("opened_leaf"), opened.c.leaf_hash.label("opened_hash")),
        )
        .outerjoin(AUDIT_TURN, (AUDIT_TURN.c.turn_id == entry.turn_id) & entry.kind.in_(_CLOSING))
        .outerjoin(opened, opened.c.entry_id == AUDIT_TURN.c.opened_entry)
        .where(entry.entry_id.in_(entry_ids))
        .order_by(entry.entry_id)
    )


def _texts(entry_ids: Sequence[str]) -> Select[Any]:
    content, key = AUDIT_CONTENT.c, SUBJECT_KEY.c
    return (
        select(
            *(content.entry_id, content.ordinal, content.wrapped_key, content.sealed),
            *(key.key_id, key.subject, key.wrapped),
        )
        .join(SUBJECT_KEY, key.key_id == content.key_id)
        .where(key.destroyed_us.is_(None), content.entry_id.in_(entry_ids))
        .order_by(content.entry_id, content.ordinal)
    )
