"""From entries to rows: ids, leaves, commitments and encrypted texts, ready to be inserted in one transaction."""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from audit.canonical import column, commitment, leaf_hash, leaf_of, text_bytes
from audit.facets import facets_of
from audit.identifiers import RisingIds
from audit.keys import SubjectKey, encrypt
from audit.record import CLOSING_KINDS, Commitment, Content, Entry, Kind, Receipt

NONCE_BYTES = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = tuple[Any, ...]

COLUMNS = {
    "audit_entry": ("entry_id", "leaf", "leaf_hash", "kind", "at_us", "subject", "turn_id"),
    "audit_content": ("entry_id", "ordinal", "key_id", "wrapped_key", "sealed"),
    "audit_text": ("text_id", "key_id", "wrapped_key", "sealed"),
    "audit_turn": (
        *("turn_id", "opened_us", "subject", "conversation_id", "verdict", "opened_entry", "closed_entry"),
        "writer_id",
    ),
    "audit_facet": ("facet", "value", "opened_us", "turn_id"),
    "outbox": ("entry_id",),
}
"""The columns of each table in the order of the rows below; tables in the order in which they must be written."""

ON_CONFLICT = {
    "audit_text": " ON CONFLICT (text_id) DO NOTHING",
    "audit_turn": (
        " ON CONFLICT (turn_id) DO UPDATE SET"
        " verdict = CASE WHEN excluded.verdict <> '' THEN excluded.verdict ELSE audit_turn.verdict END,"
        " closed_entry = COALESCE(excluded.closed_entry, audit_turn.closed_entry)"
    ),
    "audit_facet": " ON CONFLICT DO NOTHING",
}
"""A text that is there already stays; a closing record ends the turn that is there. A facet's `opened_us` is that of
its turn where the turn is there already: the writers look it up."""


class Rows(msgspec.Struct):
    """Rows by table, in the order of `COLUMNS`."""

    by_table: dict[str, list[Row]]

    @classmethod
    def none(cls) -> "Rows":
        """Return no rows."""
        return cls({table: [] for table in COLUMNS})

    def add(self, other: "Rows") -> None:
        """Add the rows of another."""
        for table, rows in other.by_table.items():
            self.by_table[table] += rows

    def merge_turns(self) -> None:
        """Leave one row per turn, as `ON_CONFLICT` would: the first, with the verdict and end of the later ones.

        Facets get the time of that first row.
        """
        merged: dict[str, Row] = {}
        for row in self.by_table["audit_turn"]:
            first = merged.get(row[0], row)
            merged[row[0]] = (*first[:4], row[4] or first[4], first[5], row[6] or first[6], first[7])
        self.by_table["audit_turn"] = list(merged.values())
        facets = (
            (facet, value, merged[turn_id][1], turn_id) for facet, value, _, turn_id in self.by_table["audit_facet"]
        )
        self.by_table["audit_facet"] = list(dict.fromkeys(facets))


class NamedText(msgspec.Struct, frozen=True):
    """A dialogue text and the id under which its subject's key knows it."""

    text_id: str
    data: bytes
    """Role and text, as they are encrypted."""


class NamedEntry(msgspec.Struct, frozen=True):
    """An entry whose dialogue texts have their ids."""

    entry: Entry
    texts: tuple[NamedText, ...]


def microseconds(at: datetime) -> int:
    """Return microseconds since 1970 UTC."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def subjects_with_texts(entries: Iterable[Entry]) -> set[str]:
    """Return the subjects, as the columns hold them, whose keys these entries need."""
    return {column(entry.subject) for entry in entries if entry.contents or entry.dialogue}


def name_texts(entries: Iterable[Entry], keys: Mapping[str, SubjectKey]) -> tuple[NamedEntry, ...]:
    """Give each dialogue text its id."""
    return tuple(_named(entry, keys) for entry in entries)


def _named(entry: Entry, keys: Mapping[str, SubjectKey]) -> NamedEntry:
    if not entry.dialogue:
        return NamedEntry(entry, ())
    key = keys[column(entry.subject)]
    texts = []
    for content in entry.dialogue:
        data = text_bytes(content.text)
        texts.append(NamedText(key.text_id(content.role, data), _with_role(content.role, data)))
    return NamedEntry(entry, tuple(texts))


def _with_role(role: str, text: bytes) -> bytes:
    return text_bytes(role.replace("\x00", "")) + b"\x00" + text


class RowMaker:
    """Makes the rows of one writer. Not safe across threads."""

    def __init__(self, writer_id: str) -> None:
        self.writer_id = writer_id
        self._ids = RisingIds()

    def make(
        self, entries: Iterable[NamedEntry], keys: Mapping[str, SubjectKey], known_texts: set[str]
    ) -> tuple[Rows, tuple[Receipt, ...]]:
        """Return the rows of some entries and their receipts; texts in `known_texts` are stored already.

        Raises `audit.canonical.UnrecordableError`.
        """
        rows = Rows.none()
        receipts = tuple(self._add(named, keys, known_texts, rows) for named in entries)
        rows.by_table["audit_text"].sort(key=lambda row: str(row[0]))  # one order everywhere: no deadlock
        return rows, receipts

    def _add(self, named: NamedEntry, keys: Mapping[str, SubjectKey], known: set[str], rows: Rows) -> Receipt:
        entry, entry_id, subject = named.entry, self._ids.next(), column(named.entry.subject)
        contents, commitments = _seal(entry_id, entry.contents, keys.get(subject))
        whole = msgspec.structs.replace(
            entry,
            entry_id=entry_id,
            commitments=commitments,
            context=tuple(text.text_id for text in named.texts),
        )
        leaf = leaf_of(whole)
        digest, at_us, turn_id = leaf_hash(leaf), microseconds(entry.at), column(entry.turn_id)
        tables = rows.by_table
        tables["audit_entry"].append((entry_id, leaf, digest, entry.kind.value, at_us, subject, turn_id))
        tables["audit_content"] += contents
        tables["outbox"].append((entry_id,))
        tables["audit_text"] += _new_texts(named, keys.get(subject), known)
        if turn_id and (entry.kind is Kind.TURN_ACCEPTED or entry.kind in CLOSING_KINDS):
            closed = entry_id if entry.kind in CLOSING_KINDS else None
            conversation = column(entry.conversation_id)
            turn = (turn_id, at_us, subject, conversation, column(entry.verdict), entry_id, closed, self.writer_id)
            tables["audit_turn"].append(turn)
            tables["audit_facet"] += [(facet, value, at_us, turn_id) for facet, value in facets_of(entry)]
        return Receipt(entry_id=entry_id, leaf_hash=digest.hex())


def _seal(
    entry_id: str, contents: tuple[Content, ...], key: SubjectKey | None
) -> tuple[list[Row], tuple[Commitment, ...]]:
    if not contents or key is None:
        return [], ()
    record_key, wrapped = key.new_record_key(entry_id.encode())
    rows: list[Row] = []
    commitments = []
    for ordinal, content in enumerate(contents):
        nonce, data = os.urandom(NONCE_BYTES), text_bytes(content.text)
        about = content_about(entry_id, content.name)
        rows.append((entry_id, ordinal, key.key_id, wrapped, encrypt(record_key, nonce + data, about)))
        commitments.append(Commitment(content.name, content.role, len(content.text), commitment(nonce, data)))
    return rows, tuple(commitments)


def content_about(entry_id: str, name: str) -> bytes:
    """Return what is authenticated with a record's text: the entry and the text's name."""
    return entry_id.encode() + b"\x00" + text_bytes(name)


def _new_texts(named: NamedEntry, key: SubjectKey | None, known: set[str]) -> list[Row]:
    rows: list[Row] = []
    for text in named.texts:
        if text.text_id in known or key is None:
            continue
        known.add(text.text_id)
        about = text.text_id.encode()
        record_key, wrapped = key.new_record_key(about)
        rows.append((text.text_id, key.key_id, wrapped, encrypt(record_key, text.data, about)))
    return rows
