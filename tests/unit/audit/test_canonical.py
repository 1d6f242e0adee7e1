import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import (
    EXACT_INTEGER,
    LONGEST_LEAF,
    UnrecordableError,
    canonical_json,
    column,
    commitment,
    entry_of,
    escape,
    leaf_hash,
    leaf_of,
    text_bytes,
    unescape,
)
from audit.record import Commitment, Content, Entry, FindingRecord, Kind, StageRecord
from audit.verify import LONGEST_LINE

AT = datetime(2026, 11, 20, 8, 30, 0, 123456, tzinfo=UTC)
any_text = st.text(st.characters(codec=None), max_size=40)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-EXACT_INTEGER, EXACT_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=6))
def test_the_fast_encoder_gives_the_bytes_of_the_rfc(fields):
    assert canonical_json(fields) == rfc8785.dumps(fields)


def test_the_example_of_rfc_8785_is_met():
    fields = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\x0f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(fields) == expected.encode()


@pytest.mark.parametrize("value", [2.0**53, 2.0**53 + 2, -(2.0**53), 9999999999999998.0, 1e16, 2.0**69, 1e21, 1e22])
def test_large_whole_numbers_are_written_as_the_rfc_says(value):
    assert canonical_json({"x": value}) == rfc8785.dumps({"x": value})
    assert b"." not in canonical_json({"x": value})


def test_integers_that_not_every_reader_keeps_become_strings():
    assert canonical_json({"seed": 2**63}) == b'{"seed":"9223372036854775808"}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused(number):
    with pytest.raises(UnrecordableError):
        leaf_of(entry(detail={"x": number}))


def test_what_a_verifier_could_not_read_is_not_written():
    assert 4 * LONGEST_LEAF <= LONGEST_LINE
    with pytest.raises(UnrecordableError, match="longer"):
        leaf_of(entry(name="x" * LONGEST_LEAF))


def test_a_time_without_zone_is_refused():
    with pytest.raises(UnrecordableError, match="time zone"):
        leaf_of(entry(at=datetime(2026, 1, 1)))  # noqa: DTZ001 - the point of the test


def entry(**fields):
    return Entry(**{"kind": Kind.TURN_ACCEPTED, "at": AT, "subject": "alice", **fields})


def test_a_leaf_is_what_the_documentation_shows():
    whole = entry(
        entry_id="e1",
        stages=(StageRecord(stage="input.classifier", status="ran", characters=3, milliseconds=2.0),),
        contents=(Content(name="message", role="user", text="secret text"),),
        dialogue=(Content(name="context", role="user", text="secret text"),),
        commitments=(Commitment(name="message", role="user", characters=11, commitment="00"),),
    )
    assert leaf_of(whole) == (
        b'{"at":"2026-11-20T08:30:00.123456Z","commitments":[{"characters":11,"commitment":"00","name":"message",'
        b'"role":"user"}],"entry_id":"e1","kind":"turn.accepted",'
        b'"stages":[{"characters":3,"milliseconds":2,"stage":"input.classifier","status":"ran"}],"subject":"alice"}'
    )


def test_times_are_written_in_utc():
    east = entry(at=AT.astimezone(timezone(timedelta(hours=8))))
    assert leaf_of(east) == leaf_of(entry())


@given(any_text, any_text, st.dictionaries(any_text, any_text, max_size=3))
def test_what_goes_in_comes_out_whatever_the_text(subject, agent, detail):
    written = entry(subject=subject, user_agent=agent, detail=detail)
    leaf = leaf_of(written)
    json.loads(leaf.decode("utf-8", "strict"))
    assert entry_of(leaf) == written


def test_findings_come_back_as_they_were():
    finding = FindingRecord(
        guard="classifier", rule="hate", category="hate", start=0, end=9, score=0.00001, threshold=1.0, band="allow",
        action="allow",
    )  # fmt: skip
    assert entry_of(leaf_of(entry(findings=(finding,)))).findings == (finding,)


@given(any_text)
def test_escape_is_undone(text):
    escaped = escape(text)
    escaped.encode()
    assert unescape(escaped) == text


@given(any_text, any_text)
def test_columns_keep_different_texts_apart_and_take_any(one, other):
    for text in (one, other):
        assert "\x00" not in column(text)
        column(text).encode()
    assert (column(one) == column(other)) == (one == other)


def test_long_columns_are_bounded():
    assert column("a" * 256) == "a" * 256
    assert len(column("a" * 10_000)) < 256
    assert column("a" * 10_000) != column("a" * 10_001)


def test_leaf_hash_is_that_of_rfc_6962():
    # the public test vector: the hash of the empty leaf
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_a_commitment_needs_the_nonce():
    text = text_bytes("yes")
    assert commitment(b"\x01" * 32, text) != commitment(b"\x02" * 32, text)
