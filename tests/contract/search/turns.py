"""Turns that every store of a search is asked about."""

from datetime import UTC, datetime, timedelta

import msgspec

from audit.record import Content, Entry, Kind
from tests.contract.audit.turns import FINDING, accepted, completed, entry, released

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
HATE = msgspec.structs.replace(FINDING, category="hate", rule="hate.en")
CARD = msgspec.structs.replace(FINDING, category="personal_data", rule="card", where="answer")
LONG = "g" * 300
ODD = "odd \ud800\\ group"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def later(one: Entry, minutes: float, **fields) -> Entry:
    return msgspec.structs.replace(one, at=at(minutes), **fields)


def turns() -> list[tuple[Entry, ...]]:
    """One tuple a turn, in order of time; ids t01 … t12, one minute apart."""

    def opened(number: int, message: str, **fields) -> Entry:
        return later(accepted(f"t{number:02}", message, findings=(), **fields), number)

    def closed(number: int, generated: str, **fields) -> Entry:
        return later(completed(generated, f"t{number:02}", findings=(), **fields), number + 0.5)

    bob = {"subject": "bob", "name": "Bob", "groups": ("sales", LONG), "roles": ("staff",), "conversation_id": "c2"}
    return [
        (opened(1, "Please write a poem about the sea."), closed(1, "The sea is wide.")),
        (opened(2, "请介绍一下人工智能的历史。", **bob), closed(2, "人工智能始于一九五六年。", **bob)),
        (
            later(accepted("t03", "how to hate", findings=(HATE,), verdict="block", categories=("hate",)), 3),
            later(entry(Kind.TURN_BLOCKED, "t03", verdict="block", reason="input_blocked"), 3.5),
        ),
        (
            opened(4, "What is my card number?"),
            later(released("Your card is [cut].", 0, "t04"), 4.1),
            later(
                completed(
                    "Your card is 4111.", "t04", "4111.", verdict="redact", findings=(CARD,),
                    categories=("personal_data",),
                ),
                4.5,
            ),
        ),
        (
            later(
                entry(
                    Kind.TURN_REFUSED, "t05", verdict="refused", reason="rate_limited", model="demo", subject="bob",
                    groups=("sales",), contents=(Content("message", "user", "poem again"),),
                ),
                5,
            ),
        ),
        (opened(6, "Still running: SEA-monsters, e-mail a.b@example.org", **bob),),
        (opened(7, "second poem", model="large"), closed(7, "A poem; the SEA.")),
        (opened(8, "x", groups=("staff", ODD), roles=("staff", "admin")), closed(8, "y", verdict="flag")),
        (opened(9, "同一个 世界", **bob), closed(9, "同一 个世界", **bob)),
        (
            later(accepted("t10", "hate and card", findings=(HATE,), verdict="flag", categories=("hate",)), 10),
            later(completed("a card", "t10", findings=(CARD,), categories=("personal_data",), verdict="redact"), 10.5),
        ),
        (later(opened(11, "the same moment"), 12), later(closed(11, "one"), 12.5)),
        (later(opened(12, "the same moment"), 12), later(closed(12, "two"), 12.5)),
    ]  # fmt: skip


EXPECTED: list[tuple[dict[str, object], list[int]]] = [
    ({}, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
    ({"subject": "bob"}, [9, 6, 5, 2]),
    ({"subject": "nobody"}, []),
    ({"group": "sales"}, [9, 6, 5, 2]),
    ({"group": LONG}, [9, 6, 2]),
    ({"group": ODD}, [8]),
    ({"role": "admin"}, [8]),
    ({"conversation_id": "c2"}, [9, 6, 2]),
    ({"verdict": "block"}, [3]),
    ({"verdict": "redact"}, [10, 4]),
    ({"verdict": "flag"}, [8]),
    ({"verdict": "refused"}, [5]),
    ({"category": "hate"}, [10, 3]),
    ({"category": "personal_data"}, [10, 4]),
    ({"category": "personal_data", "rule": "hate.en"}, [10]),
    ({"rule": "card", "verdict": "redact", "subject": "alice"}, [10, 4]),
    ({"model": "large"}, [7]),
    ({"since": at(10)}, [12, 11, 10]),
    ({"until": at(3)}, [2, 1]),
    ({"since": at(3), "until": at(6), "subject": "alice"}, [4, 3]),
    ({"group": "staff", "category": "hate", "verdict": "block"}, [3]),
    ({"group": "sales", "subject": "alice"}, []),
    ({"text": "poem"}, [7, 5, 1]),
    ({"text": "sea"}, [7, 6, 1]),
    ({"text": "SEA"}, [7, 6, 1]),
    ({"text": "the sea"}, [7, 1]),
    ({"text": "sea the"}, []),
    ({"text": "poe"}, []),
    ({"text": "人工智能"}, [2]),
    ({"text": "工智"}, [2]),
    ({"text": "智工"}, []),
    ({"text": "同一个世界"}, [9]),
    ({"text": "4111"}, [4]),
    ({"text": "cut"}, [4]),
    ({"text": "poem", "subject": "bob"}, [5]),
    ({"text": "poem", "since": at(2), "model": "large"}, [7]),
    # A text with what the closing record may have changed: in one record or each in another, of a closed turn or not.
    ({"text": "card number", "verdict": "redact"}, [4]),
    ({"text": "hate", "verdict": "redact", "rule": "card"}, [10]),
    ({"text": "monsters", "verdict": "allow"}, [6]),
    ({"text": "card", "verdict": "redact"}, [10, 4]),
    ({"text": "hate", "verdict": "block"}, [3]),
    ({"text": "hate", "verdict": "flag"}, []),
    ({"text": "poem", "verdict": "refused", "subject": "bob"}, [5]),
    ({"text": "card", "category": "hate"}, [10]),
    ({"text": "card", "category": "personal_data", "rule": "hate.en"}, [10]),
    ({"text": "4111", "category": "personal_data"}, [4]),
    ({"text": "sea", "verdict": "block"}, []),
    ({"text": "zebra", "verdict": "redact"}, []),
    ({"text": "x", "verdict": "flag", "group": ODD}, [8]),
    ({"text": 'sea" OR *:* AND (poem'}, []),
    ({"text": "poem AND sea"}, []),
    ({"text": "a.b"}, [6]),
    ({"text": "example.org"}, [6]),
]
"""Filters → numbers of the turns found, newest first."""


def numbers(found) -> list[int]:
    return [int(turn.turn_id[1:]) for turn in found]
