"""`attest audit` and `attest migrate`, as their users call them."""

import json
import os
import pwd
from datetime import UTC, datetime

import pytest

from audit.record import Content, Entry, Kind

ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


def entry(kind: Kind, *texts: Content, turn: str = "t1", **fields) -> Entry:
    fields = {"at": datetime.now(UTC), "subject": "alice", "verdict": "allow", **fields}
    return Entry(kind=kind, turn_id=turn, contents=texts, **fields)


def a_turn(turn: str = "t1", **fields) -> tuple[Entry, ...]:
    context = (Content("context", "system", "Be kind."), Content("context", "user", "你好"))
    return (
        entry(Kind.TURN_ACCEPTED, Content("message", "user", "你好"), turn=turn, dialogue=context, **fields),
        entry(Kind.TURN_RELEASED, Content("delivered", "assistant", "Hi."), turn=turn, length=3, **fields),
        entry(
            Kind.TURN_COMPLETED,
            *(Content("generated", "assistant", "Hi. Bad."), Content("withheld", "assistant", "Bad.")),
            **{"turn": turn, **fields, "verdict": "block"},
        ),
    )


def test_list_prints_what_is_documented(attest, append):
    assert json.loads(attest("audit", "list", "--json")) == []
    append(*a_turn("t1"), *a_turn("t2", subject="bob"))
    turns = json.loads(attest("audit", "list", "--json"))
    assert {(turn["turn_id"], turn["subject"], turn["verdict"]) for turn in turns} == {
        ("t1", "alice", "block"),
        ("t2", "bob", "block"),
    }
    assert set(turns[0]) == {
        *("turn_id", "at", "subject", "verdict", "name", "conversation_id", "reason", "surface", "model"),
        *("closing_kind", "categories"),
    }
    assert len(json.loads(attest("audit", "list", "--json", "--subject", "bob"))) == 1
    assert len(json.loads(attest("audit", "list", "--json", "--limit", "1"))) == 1
    assert len(json.loads(attest("audit", "list", "--json", "--since", "1h"))) == 2
    assert json.loads(attest("audit", "list", "--json", "--since", "2100-01-01")) == []
    assert "t1" in attest("audit", "list")


def test_show_prints_the_whole_turn(attest, append):
    append(*a_turn())
    shown = json.loads(attest("audit", "show", "t1", "--json"))
    assert (shown["message"], shown["generated"], shown["withheld"], shown["delivered"]) == (
        "你好",
        "Hi. Bad.",
        "Bad.",
        "Hi.",
    )
    assert [one["text"] for one in shown["dialogue"]] == ["Be kind.", "你好"]
    assert [one["kind"] for one in shown["records"]] == ["turn.accepted", "turn.released", "turn.completed"]
    text = attest("audit", "show", "t1")
    assert "你好" in text
    assert "Withheld:" in text


def test_reading_is_itself_recorded(attest, append):
    append(*a_turn())
    attest("audit", "list", "--subject", "alice", "--json")
    attest("audit", "show", "t1", "--json")
    attest("audit", "show", "nobody", code=1)
    attest("audit", "show", "nobody", "--json", code=1)
    lines = attest("audit", "records", "--kind", "access.search", "--kind", "access.read").splitlines()
    records = [json.loads(line) for line in lines]
    assert [(one["kind"], one["subject"], one.get("turn_id", "")) for one in records] == [
        ("access.search", ME, ""),
        ("access.read", ME, "t1"),
        ("access.read", ME, "nobody"),
        ("access.read", ME, "nobody"),
        ("access.search", ME, ""),
    ]
    assert records[0]["detail"] == {"limit": 100, "results": 1, "subject": "alice"}
    assert records[1]["detail"] == {"content": True, "found": True, "of_subject": "alice"}
    assert records[2]["detail"] == {"content": True, "found": False}


def test_texts_cannot_drive_the_terminal(attest, append):
    evil = "\x1b]0;owned\x07 \u202etxt.exe \ud800"
    append(entry(Kind.TURN_REFUSED, Content("message", "user", evil), subject="a\x1b[2J"))
    for words in (("audit", "list"), ("audit", "show", "t1")):
        printed = attest(*words)
        assert not set(printed) & {"\x1b", "\x07", "\u202e"}
    assert json.loads(attest("audit", "show", "t1", "--json"))["message"] == evil


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--since", "yesterday"),
        ("list", "--limit", "0"),
        ("list", "--limit", "x"),
        ("show",),
        ("show", "t" * 1000),
        ("records", "--kind", "nonsense"),
        ("nonsense",),
    ],
)
def test_wrong_use_is_code_2(attest, words):
    attest("audit", *words, code=2)


def test_a_log_that_cannot_be_read_is_code_3(attest, tmp_path, monkeypatch):
    (tmp_path / "master.key").chmod(0o644)
    attest("audit", "list", code=3)
    (tmp_path / "master.key").unlink()
    attest("audit", "list", code=3)
    assert not (tmp_path / "master.key").exists()
    monkeypatch.setenv("ATTEST_PORT", "nonsense")
    attest("audit", "list", code=3)


def test_migrate_says_what_it_did(attest):
    assert json.loads(attest("migrate", "--json"))["before"] == json.loads(attest("migrate", "--json"))["head"]
    assert "nothing to do" in attest("migrate")
    attest("migrate", "--down", code=2)
    assert json.loads(attest("migrate", "--down", "--to", "base", "--json"))["after"] == ""
    attest("audit", "list", code=3)
