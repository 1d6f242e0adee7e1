"""Documents of a batch: what several of them need is opened once, and what was altered is refused all the same."""

import msgspec
import pytest

from audit.elastic import rows as elastic_rows
from audit.elastic.rows import DocumentMaker, LogRow, SealedText
from audit.keys import FileMasterKey
from audit.ports import AuditIntegrityError
from audit.ring import KeyRing
from audit.rows import RowMaker, name_texts
from tests.contract.audit.turns import accepted, completed, released

MASTER = FileMasterKey(b"m" * 32)


@pytest.fixture
def ring():
    return KeyRing(MASTER)


@pytest.fixture
def turn(ring):
    """The four records of a turn as the database gives them, the closing one with those before it."""
    key_id, subject, wrapped, *_ = ring.new_row("alice")
    keys = {subject: ring.open(key_id, subject, wrapped)}
    entries = [accepted("t1", "May I?"), released("Yes, ", 0), released("you may.", 5), completed("Yes, you may.")]
    made, _ = RowMaker("writer").make(name_texts(entries, keys), keys, set())
    texts: dict[str, list[SealedText]] = {}
    for entry_id, ordinal, _, record_key, sealed in made.by_table["audit_content"]:
        text = SealedText(entry_id, ordinal, record_key, sealed, key_id, subject, wrapped)
        texts.setdefault(entry_id, []).append(text)
    records = [
        LogRow(entry_id, index, leaf, digest, None, tuple(texts[entry_id]))
        for index, (entry_id, leaf, digest, *_) in enumerate(made.by_table["audit_entry"])
    ]
    *before, closing = records
    return [*before, msgspec.structs.replace(closing, opening=(before[0].leaf, before[0].leaf_hash), turn=(*before,))]


def copied(row: LogRow) -> LogRow:
    """Return a row of the same bytes that are others in memory, as a second query gives them."""
    texts = tuple(msgspec.structs.replace(text, sealed=bytes(bytearray(text.sealed))) for text in row.texts)
    return msgspec.structs.replace(row, leaf=bytes(bytearray(row.leaf)), texts=texts)


def altered(row: LogRow) -> LogRow:
    text = row.texts[0]
    flipped = text.sealed[:-1] + bytes([text.sealed[-1] ^ 1])
    return msgspec.structs.replace(row, texts=(msgspec.structs.replace(text, sealed=flipped), *row.texts[1:]))


def searched(maker: DocumentMaker, row: LogRow) -> list[str]:
    _, content = maker.make(row)
    return content.source["attest"]["search"]


def test_a_batch_has_the_documents_that_each_record_has_by_itself(ring, turn):
    maker = DocumentMaker(ring)
    assert [maker.make(row) for row in turn] == [DocumentMaker(ring).make(row) for row in turn]
    assert searched(maker, turn[-1]) == ["May I?", "Yes, ", "you may.", "Yes, you may."]


def test_each_text_and_leaf_of_a_batch_is_opened_once(ring, turn, monkeypatch):
    opened = []
    checked = []
    monkeypatch.setattr(
        elastic_rows, "decrypt", lambda *given, real=elastic_rows.decrypt: (opened.append(given), real(*given))[1]
    )
    monkeypatch.setattr(
        elastic_rows,
        "checked_entry",
        lambda *given, real=elastic_rows.checked_entry: checked.append(given) or real(*given),
    )
    maker = DocumentMaker(ring)
    *before, closing = turn
    for row in (*before, msgspec.structs.replace(closing, turn=tuple(copied(row) for row in before))):
        maker.make(row)
    assert (len(opened), len(checked)) == (4, 4)


def test_an_altered_text_is_refused_though_the_right_one_was_opened(ring, turn):
    maker = DocumentMaker(ring)
    maker.make(turn[1])
    with pytest.raises(AuditIntegrityError, match="was altered"):
        maker.make(altered(turn[1]))
    *before, closing = turn
    beside = msgspec.structs.replace(closing, turn=(before[0], altered(before[1]), before[2]))
    assert searched(maker, beside) == ["May I?", "you may.", "Yes, you may."]


def test_an_altered_leaf_is_refused_though_the_right_one_was_read(ring, turn):
    maker = DocumentMaker(ring)
    maker.make(turn[0])
    with pytest.raises(AuditIntegrityError, match="was altered"):
        maker.make(msgspec.structs.replace(turn[0], leaf=turn[0].leaf.replace(b"alice", b"mable")))
