"""Documents follow from leaves alone, and every field that one can have is in the mapping."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import commitment, leaf_hash, leaf_of
from audit.elastic.families import AUDIT, CONTENT
from audit.elastic.projection import (
    OpenedText,
    Record,
    both_documents,
    content_document,
    document_id,
    leaf_in,
    metadata_document,
    without_volatile,
)
from audit.record import Commitment, Entry, FindingRecord, Kind, StageRecord
from tests.unit.elastic.entries import ENTRIES, TEXTS
from tests.unit.elastic.mapped import fields_of

AT = datetime(2026, 11, 30, 23, 59, 59, 999_999, UTC)
FINDING = FindingRecord("company", "case", "secrets", 1, 4, 0.0, 0.5, "block", "block", "message")
SEEN = FindingRecord("classifier", "hate", "hate", 0, 9, 0.01, 0.5, "allow", "allow", "message")


def entry(kind: Kind = Kind.TURN_ACCEPTED, **fields: object) -> Entry:
    whole = {"kind": kind, "at": AT, "subject": "alice", "turn_id": "t1", "entry_id": "e1"}
    return Entry(**{**whole, **fields})


def record(one: Entry, index: int = 7) -> Record:
    return Record.of(index, leaf_of(one))


def names(value: object, prefix: str = "") -> set[str]:
    if isinstance(value, dict):
        return {name for key, inner in value.items() for name in names(inner, f"{prefix}{key}.")}
    if isinstance(value, list):
        return {name for inner in value for name in names(inner, prefix)}
    return {prefix.rstrip(".")}


def test_the_evidence_stands_whole_in_the_document():
    one = record(entry(subject="爱丽丝"))
    document = metadata_document(one)
    assert leaf_in(document.source) == one.leaf
    digest = leaf_hash(one.leaf)
    assert document.source["event"]["hash"] == digest.hex()
    assert document.id == document_id(digest) == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert document.source["event"]["sequence"] == 7
    assert document.source["user"]["id"] == "爱丽丝"
    assert document.source["@timestamp"] == "2026-11-30T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("at", "month"),
    [
        (AT, "2026.11"),
        (AT + timedelta(microseconds=1), "2026.12"),
        (datetime(2027, 1, 1, 7, 30, tzinfo=timezone(timedelta(hours=8))), "2026.12"),
    ],
)
def test_the_index_is_of_the_records_own_month_in_utc(at: datetime, month: str):
    one = record(entry(at=at))
    assert metadata_document(one).index == f"attest-audit-{month}"
    content = content_document(one, [OpenedText("message", "user", "x", b"n" * 32)])
    assert content
    assert content.index == f"attest-content-{month}"


def test_a_closing_document_says_all_of_its_turn():
    opening = entry(
        entry_id="e0", at=AT - timedelta(minutes=1), groups=("sales",), roles=("staff",), model="demo",
        findings=(FINDING, SEEN), categories=("secrets", "hate"), verdict="block", conversation_id="c1", name="Alice",
    )  # fmt: skip
    closing = entry(Kind.TURN_BLOCKED, verdict="block", reason="input_blocked", groups=("sales",), model="demo")
    turn = metadata_document(record(closing), opening).source["attest"]["turn"]
    assert turn == {
        "id": "t1", "state": "closed", "opened": "2026-11-30T23:58:59.999999Z", "subject": "alice", "verdict": "block",
        "reason": "input_blocked", "closing_kind": "turn.blocked", "conversation": "c1", "name": "Alice",
        "group": ["sales"], "role": ["staff"], "model": ["demo"], "category": ["secrets", "hate"],
        "rule": ["case", "hate"], "stopped_category": ["secrets"], "stopped_rule": ["case"],
    }  # fmt: skip
    assert metadata_document(record(opening)).source["attest"]["turn"]["state"] == "opened"
    released = metadata_document(record(entry(Kind.TURN_RELEASED)), opening).source["attest"]["turn"]
    assert released == {"id": "t1"}


def test_only_what_acted_is_a_rule_that_matched():
    source = metadata_document(record(entry(findings=(FINDING, SEEN), policy_hash="p"))).source
    assert source["rule"] == {"id": ["case"], "category": ["secrets"], "ruleset": ["company"], "version": "p"}
    assert [one["rule"] for one in source["attest"]["finding"]] == ["case", "hate"]
    assert source["attest"]["finding"][0]["score"] == 0


def test_guards_that_failed_are_named():
    stages = tuple(StageRecord(f"input.{status}", status, 1, 0.5) for status in ("ran", "error", "timed_out"))
    guard = metadata_document(record(entry(stages=stages))).source["attest"]["guard"]
    assert guard == {"error": ["input.error"], "timed_out": ["input.timed_out"]}


def test_texts_come_with_what_proves_them_and_never_in_the_metadata():
    nonce, text = b"n" * 32, "秘密 \ud800 text"
    promise = Commitment("message", "user", len(text), commitment(nonce, text.encode("utf-8", "surrogatepass")))
    one = record(entry(commitments=(promise,)))
    document = content_document(one, [OpenedText("message", "user", text, nonce)], turn_texts=("秘密 \ud800 text", "b"))
    assert document
    held = document.source["attest"]["text"][0]
    assert held["body"] == "秘密 \ufffd text"
    assert document.source["attest"]["search"] == ["秘密 \ufffd text", "b"]
    assert commitment(base64.b64decode(held["nonce"]), base64.b64decode(held["exact"])) == promise.commitment
    assert "秘密" not in json.dumps(metadata_document(one).source, ensure_ascii=False)
    assert content_document(one, []) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("fe80::1%eth0", None), ("unix:", None), ("", None)],
)
def test_an_address_that_is_none_is_not_called_one(address: str, expected: str | None):
    source = metadata_document(record(entry(source_ip=address))).source
    assert source.get("source", {}).get("ip") == expected
    assert source.get("source", {}).get("address") == (address or None)


def test_when_it_was_delivered_is_no_part_of_the_projection():
    source = metadata_document(record(entry())).source
    delivered = {**source, "event": {**source["event"], "ingested": "2026-12-01T00:00:00Z"}}
    assert without_volatile(delivered) == source


@settings(max_examples=150, deadline=None)
@given(entry=ENTRIES, opening=st.none() | ENTRIES, text=TEXTS)
def test_every_record_has_a_document_that_the_mapping_knows(entry: Entry, opening: Entry | None, text: str):
    one = record(entry)
    document = metadata_document(one, opening)
    content = content_document(one, [OpenedText("message", "user", text, b"n" * 32)], opening, (text,))
    assert content
    assert names(document.source) <= set(fields_of(AUDIT)) | flat(document.source)
    assert names(content.source) <= set(fields_of(CONTENT))
    for each in (document, content):
        assert msgspec.json.decode(msgspec.json.encode(each.source)) == each.source
    assert metadata_document(one, opening) == document
    together = both_documents(one, [OpenedText("message", "user", text, b"n" * 32)], opening, (text,))
    assert together == (document, content)
    assert both_documents(one, [], opening) == (document,)


def flat(source: dict[str, dict[str, object]]) -> set[str]:
    return {name for name in names(source) if name.startswith(("attest.detail.", "attest.parameter."))}
