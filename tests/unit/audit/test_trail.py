from datetime import UTC, datetime, timedelta

import pytest

from audit.canonical import commitment, leaf_hash, leaf_of
from audit.ports import AuditIntegrityError
from audit.record import Commitment, Content, Entry, Kind
from audit.trail import OpenedRecord, checked_content, checked_entry, summary_of, trail_of

AT = datetime(2026, 11, 20, tzinfo=UTC)


def record(kind, seconds=0, contents=(), **fields):
    entry = Entry(kind=kind, at=AT + timedelta(seconds=seconds), subject="alice", turn_id="t", **fields)
    return OpenedRecord(entry, tuple(Content(name, "assistant", text) for name, text in contents))


ACCEPTED = record(
    Kind.TURN_ACCEPTED, contents=[("message", "hello")], verdict="allow", context=("a", "b"), name="Alice"
)
RELEASES = [
    record(Kind.TURN_RELEASED, 1, contents=[("delivered", "One. ")], verdict="allow"),
    record(Kind.TURN_RELEASED, 2, contents=[("delivered", "Two.")], verdict="redact"),
]
COMPLETED = record(
    Kind.TURN_COMPLETED, 3, contents=[("generated", "One. 2."), ("withheld", "2.")], verdict="redact",
    categories=("secret",), length=9,
)  # fmt: skip
TEXTS = {"a": Content("context", "system", "be kind"), "b": Content("context", "user", "hello")}


def test_no_turn_without_a_record_that_opens_it():
    assert trail_of("t", [], {}) is None
    assert trail_of("t", [record(Kind.ACCESS_READ)], {}) is None


def test_while_the_turn_runs_delivered_comes_from_the_releases():
    trail = trail_of("t", [ACCEPTED, *RELEASES], TEXTS)
    assert trail.delivered == "One. Two."
    assert (trail.closing_kind, trail.verdict, trail.generated) == ("", "allow", "")
    assert [content.text for content in trail.dialogue] == ["be kind", "hello"]


def test_a_closed_turn_has_three_texts_apart():
    trail = trail_of("t", [ACCEPTED, *RELEASES, COMPLETED, record(Kind.ACCESS_READ, 9)], TEXTS)
    assert (trail.message, trail.generated, trail.withheld, trail.delivered) == ("hello", "One. 2.", "2.", "One. Two.")
    assert (trail.verdict, trail.closing_kind, trail.categories) == ("redact", "turn.completed", ("secret",))
    assert len(trail.records) == 5


def test_feedback_stands_beside_the_turn():
    feedback = record(Kind.FEEDBACK_GIVEN, 9, contents=[("comment", "wrong")])
    trail = trail_of("t", [ACCEPTED, COMPLETED, feedback], TEXTS)
    assert [content.text for content in trail.comments] == ["wrong"]
    assert trail.closing_kind == "turn.completed"


def test_a_mirrored_answer_is_neither_the_turns_own_nor_a_comment():
    mirrored = record(Kind.TURN_MIRRORED, 9, contents=[("mirrored", "other")], verdict="block")
    trail = trail_of("t", [ACCEPTED, *RELEASES, COMPLETED, mirrored], TEXTS)
    assert (trail.mirrored, trail.comments, trail.closing_kind) == ("other", (), "turn.completed")
    assert (trail.generated, trail.delivered, trail.verdict) == ("One. 2.", "One. Two.", "redact")


def test_what_was_asked_is_told_though_the_clock_went_back_before_the_turn_was_closed():
    """Records come by their ids: then the closing one is the first, and one of somebody's reading it may be, too."""
    interrupted = record(Kind.TURN_INTERRUPTED, reason="restart", verdict="allow")
    trail = trail_of("t", [record(Kind.ACCESS_READ), interrupted, ACCEPTED, *RELEASES], TEXTS)
    assert (trail.message, trail.name, trail.at) == ("hello", "Alice", AT)
    assert [content.text for content in trail.dialogue] == ["be kind", "hello"]
    assert (trail.closing_kind, trail.reason, trail.delivered) == ("turn.interrupted", "restart", "One. Two.")
    assert trail.records[0] is ACCEPTED.entry
    assert len(trail.records) == 5


def test_a_refused_turn_is_opened_and_closed_by_one_record():
    refused = record(Kind.TURN_REFUSED, contents=[("message", "hi")], verdict="refused", reason="rate_limited")
    trail = trail_of("t", [refused], {})
    assert (trail.message, trail.verdict, trail.reason, trail.dialogue) == ("hi", "refused", "rate_limited", ())


def test_the_verdict_of_a_summary_is_the_last_one():
    assert summary_of(ACCEPTED.entry, None).verdict == "allow"
    assert summary_of(ACCEPTED.entry, COMPLETED.entry).verdict == "redact"


def test_any_altered_byte_of_a_leaf_is_found():
    leaf = leaf_of(COMPLETED.entry)
    digest = leaf_hash(leaf)
    assert checked_entry(leaf, digest) == COMPLETED.entry
    for at in range(len(leaf)):
        with pytest.raises(AuditIntegrityError):
            checked_entry(leaf[:at] + bytes([leaf[at] ^ 1]) + leaf[at + 1 :], digest)


def test_a_text_other_than_the_one_committed_to_is_found():
    nonce, text = b"n" * 32, b"hello"
    promise = Commitment("message", "user", 5, commitment(nonce, text))
    entry = Entry(kind=Kind.TURN_ACCEPTED, at=AT, subject="alice", entry_id="e", commitments=(promise,))
    assert checked_content(entry, 0, nonce + text) == Content("message", "user", "hello")
    for ordinal, opened in ((0, nonce + b"hallo"), (0, b"o" * 32 + text), (1, nonce + text)):
        with pytest.raises(AuditIntegrityError, match=r"record e|of record e"):
            checked_content(entry, ordinal, opened)
