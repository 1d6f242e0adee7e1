"""Which documents there must be of a record. Of one that the log has emptied, the store's own copy of the leaf tells.

Pure.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from audit.canonical import leaf_hash
from audit.elastic.comparison import TEXTS, TURN, Hit
from audit.elastic.families import AUDIT, CONTENT
from audit.elastic.projection import Record, both_documents, leaf_in
from audit.facets import OPENING_KINDS
from audit.ports import AuditIntegrityError
from audit.record import CLOSING_KINDS, Entry
from audit.sinks.ports import Document
from audit.trail import checked_entry

_NO_TEXTS = ("",)


class Expected(msgspec.Struct, frozen=True):
    """One record, and the documents that there must be of it."""

    index: int
    entry_id: str
    leaf_hash: bytes
    at: datetime
    pruned: bool
    documents: dict[str, Document]
    """By family."""
    untold: tuple[str, ...] = ()
    """How the names of fields begin that cannot be told: the turn's where the record that opened it is gone."""
    may_lack: frozenset[str] = frozenset()
    """Families in which the document may be absent."""


class PrunedRecords:
    """Tells what the store must say of pruned records, by the leaves that it holds of them.

    Takes records in the order of the log: a closing record's fields of the turn follow from the one that opened it.
    """

    def __init__(self) -> None:
        self._openings: dict[str, Entry] = {}
        """By turn, until it is closed."""

    def expect(self, one: Expected, hits: Iterable[Hit]) -> Expected:
        """Return a pruned record with what its leaf says, or as it is where no document holds that leaf."""
        leaf = next((leaf for hit in hits if (leaf := leaf_of(hit)) and leaf_hash(leaf) == one.leaf_hash), None)
        if leaf is None:
            return one
        try:
            record = Record(one.index, leaf, checked_entry(leaf, one.leaf_hash), one.leaf_hash)
        except AuditIntegrityError:  # no leaf, though it has the hash that the database holds
            return one
        opening = self._opening_of(record.entry)
        told = opening is not None or record.entry.kind not in CLOSING_KINDS - OPENING_KINDS
        documents = both_documents(record, (), opening, _NO_TEXTS)
        return msgspec.structs.replace(
            one,
            documents=dict(zip((AUDIT.name, CONTENT.name), documents, strict=True)),
            untold=TEXTS if told else (*TEXTS, TURN),
            may_lack=frozenset({CONTENT.name}),  # not every record has texts, and those of the erased are gone
        )

    def _opening_of(self, entry: Entry) -> Entry | None:
        if entry.kind in CLOSING_KINDS:
            return self._openings.pop(entry.turn_id, None)
        if entry.kind in OPENING_KINDS and entry.turn_id:
            self._openings.setdefault(entry.turn_id, entry)
        return None


def leaf_of(hit: Hit) -> bytes | None:
    """Return the leaf that a document holds."""
    try:
        return leaf_in(hit.source)
    except ValueError:
        return None
