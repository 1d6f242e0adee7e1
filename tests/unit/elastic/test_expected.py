"""What a pruned record's documents must say follows from the leaf that the store holds; nothing else is guessed."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings

from audit.canonical import leaf_hash, leaf_of
from audit.elastic.comparison import Hit, differences, normal
from audit.elastic.expected import Expected, PrunedRecords
from audit.elastic.families import AUDIT, CONTENT
from audit.elastic.projection import OpenedText, Record, both_documents
from audit.record import CLOSING_KINDS, Entry, Kind
from audit.sinks.ports import Document
from tests.unit.elastic.entries import ENTRIES

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TEXT = OpenedText("message", "user", "words", b"n" * 32)
OPENING = Entry(kind=Kind.TURN_ACCEPTED, at=NOW, subject="alice", turn_id="t", groups=("staff",), entry_id="1")
CLOSING = Entry(kind=Kind.TURN_COMPLETED, at=NOW, subject="alice", turn_id="t", verdict="block", entry_id="2")


def stored(index: int, entry: Entry, opening: Entry | None = None) -> tuple[Expected, list[Document]]:
    """Return a pruned record and the documents that were made of it while its leaf was there."""
    leaf = leaf_of(entry)
    record = Record.of(index, leaf)
    pruned = Expected(index, entry.entry_id, record.digest, entry.at, pruned=True, documents={})
    opening = opening if entry.kind in CLOSING_KINDS else None
    return pruned, list(both_documents(record, [TEXT], opening, ["earlier"]))


def hit(document: Document, **changes: object) -> Hit:
    source = normal(document.source)
    return Hit(document.index, document.id, source["event"]["sequence"], source | changes)


def differing(one: Expected, documents: list[Document], **changes: object) -> list[list[str]]:
    return [
        differences(normal(one.documents[family.name].source), hit(each, **changes).source, one.untold)
        for family, each in zip((AUDIT, CONTENT), documents, strict=True)
    ]


@given(ENTRIES, ENTRIES)
@settings(max_examples=60, deadline=None)
def test_honest_documents_of_any_record_raise_no_alarm(opening: Entry, entry: Entry):
    opening = msgspec.structs.replace(opening, kind=Kind.TURN_ACCEPTED, turn_id="t")
    entry = msgspec.structs.replace(entry, turn_id="t")
    pruned = PrunedRecords()
    for index, (one, before) in enumerate(((opening, None), (entry, opening))):
        record, documents = stored(index, one, before)
        expected = pruned.expect(record, [hit(documents[0])])
        assert [expected.documents[family.name].id for family in (AUDIT, CONTENT)] == [each.id for each in documents]
        assert differing(expected, documents) == [[], []]


def test_the_turn_is_told_as_far_as_its_opening_record_is_known():
    record, documents = stored(5, CLOSING, OPENING)
    edited = {"attest": {"turn": {"subject": "nobody"}}, "user": {"id": "nobody"}}
    alone = PrunedRecords().expect(record, [hit(documents[0])])
    assert differing(alone, documents) == [[], []]
    assert differing(alone, documents, **edited)[0] == ["attest.verdict", "user.id"]
    pruned = PrunedRecords()
    first, opened = stored(4, OPENING)
    pruned.expect(first, [hit(opened[0])])
    assert {"user.id", "attest.turn.subject", "attest.turn.group"} < set(
        differing(pruned.expect(record, [hit(documents[0])]), documents, **edited)[1]
    )


def test_a_refused_turn_has_no_other_opening_record():
    entry = msgspec.structs.replace(CLOSING, kind=Kind.TURN_REFUSED)
    record, documents = stored(5, entry)
    edited = {"attest": {"turn": {"subject": "nobody"}}}
    expected = PrunedRecords().expect(record, [hit(documents[0])])
    assert "attest.turn.subject" in differing(expected, documents, **edited)[0]


def test_what_does_not_have_the_hash_that_was_logged_tells_nothing():
    record, _ = stored(5, CLOSING)
    _, others = stored(5, msgspec.structs.replace(CLOSING, subject="nobody"))
    assert PrunedRecords().expect(record, [hit(others[0])]) == record
    assert PrunedRecords().expect(record, []) == record
    senseless = msgspec.structs.replace(record, leaf_hash=leaf_hash(b"{}"))
    assert PrunedRecords().expect(senseless, [hit(others[0], event={"original": "e30="})]) == senseless
