"""Queries are checked, and cursors are only taken back from whom they were given for."""

import string
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.search.cursor import Cursors
from audit.search.ports import Position
from audit.search.query import Order, QueryError, TurnQuery

CURSORS = Cursors(b"k" * 32)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUERY = TurnQuery(subject="alice", since=NOON)
CURSOR = CURSORS.write(QUERY.fingerprint(), Position(1_700_000_000_000_000, "01a1fb45-3da7-7000-97fc-7ee5c02f35db"))
positions = st.builds(Position, st.integers(-(2**62), 2**62), st.text(max_size=300).map(
    lambda text: text.encode("utf-8", "replace").decode()))  # fmt: skip


@given(positions)
def test_a_cursor_leads_back_to_its_place(position: Position):
    cursor = CURSORS.write(QUERY.fingerprint(), position)
    assert CURSORS.read(QUERY.fingerprint(), cursor) == position
    assert set(cursor) <= set(string.ascii_letters + string.digits + "-_")


@pytest.mark.parametrize("at", range(len(CURSOR)))
def test_no_character_of_a_cursor_can_be_changed(at: int):
    for other in "Aa0-_=.~é":
        forged = CURSOR[:at] + other + CURSOR[at + 1 :]
        if forged != CURSOR:
            with pytest.raises(QueryError):
                CURSORS.read(QUERY.fingerprint(), forged)


@given(st.text(max_size=1200))
def test_a_made_up_cursor_is_refused(cursor: str):
    with pytest.raises(QueryError) as refusal:
        CURSORS.read(QUERY.fingerprint(), cursor)
    assert refusal.value.field == "cursor"


@pytest.mark.parametrize("forged", [CURSOR[:-1], CURSOR + "A", CURSOR + "=", " " + CURSOR, "", CURSOR * 20])
def test_a_cursor_is_taken_whole(forged: str):
    with pytest.raises(QueryError):
        CURSORS.read(QUERY.fingerprint(), forged)


@pytest.mark.parametrize(
    "other",
    [
        TurnQuery(subject="bob", since=NOON),
        TurnQuery(subject="alice"),
        TurnQuery(subject="alice", since=NOON, text="x"),
        TurnQuery(subject="alice", since=NOON, order=Order.OLDEST),
        TurnQuery(group="alice", since=NOON),
    ],
)
def test_a_cursor_counts_for_its_own_query_and_key_only(other: TurnQuery):
    with pytest.raises(QueryError):
        CURSORS.read(other.fingerprint(), CURSOR)
    with pytest.raises(QueryError):
        Cursors(b"o" * 32).read(QUERY.fingerprint(), CURSOR)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"subject": "x" * 1001}, "subject"),
        ({"text": "x" * 201}, "text"),
        ({"text": "…!? \u200b"}, "text"),
        ({"text": "a " * 65}, "text"),
        ({"since": datetime(2026, 11, 20)}, "since"),  # noqa: DTZ001 - that is the mistake
        ({"since": NOON, "until": NOON}, "until"),
    ],
)
def test_a_query_that_cannot_be_answered_names_its_field(fields, field: str):
    with pytest.raises(QueryError) as refusal:
        TurnQuery(**fields).checked()
    assert refusal.value.field == field


def test_filters_are_what_was_asked_for():
    query = TurnQuery(subject="alice", text="secret", since=NOON, order=Order.OLDEST).checked()
    assert query.filters() == {"subject": "alice", "since": "2026-11-20T12:00:00Z"}
    assert msgspec.structs.replace(query, subject="\ud800").fingerprint() != query.fingerprint()
