"""`attest audit hold | erase | retention | approve | anchor`, as officers call them."""

import asyncio
import json
import os
import pwd
import stat
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import text

from audit.record import Content, Kind
from gateway import governance
from gateway.database import make_engine
from gateway.settings import Settings
from safety.compose import build_safety
from safety.normalise import VERSION
from tests.integration.audit.test_audit_commands import a_turn, entry

ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
OLD = {"at": datetime.now(UTC) - timedelta(days=200)}


@pytest.fixture
def another_officer(monkeypatch):
    """Become somebody else for the operating system's accounts."""

    def become(name: str = "nobody") -> str:
        account = pwd.getpwnam(name)
        monkeypatch.setattr(os, "getuid", lambda: account.pw_uid)
        return f"cli:{name}"

    return become


def records(attest, *kinds: str) -> list[dict]:
    words = [word for kind in kinds for word in ("--kind", kind)]
    return [json.loads(line) for line in attest("audit", "records", *words).splitlines()]


def message(attest, turn: str) -> str:
    return json.loads(attest("audit", "show", turn, "--json"))["message"]


def test_a_hold_by_what_turns_are_found_by_and_by_their_words(attest, append, tmp_path):
    append(*a_turn("t1"), *a_turn("t2", subject="bob"))
    case = ("audit", "hold", "place", "--case", "17", "--reason", "court")
    attest(*case, "--group", "nobody", "--verdict", "block", "--category", "hate", "--rule", "r", "--model", "glm")
    shown = attest("audit", "hold", "list")
    assert "group=nobody category=hate rule=r model=glm verdict=block  in force" in shown
    attest("audit", "erase", "bob", "--case", "GDPR-4")
    found = attest("audit", "list", "--subject", "alice", "--text", "你好", "--purpose", "17", "--json")
    (tmp_path / "ids").write_text("\n".join(turn["turn_id"] for turn in json.loads(found)), "utf-8")
    attest(*case, "--turns", str(tmp_path / "ids"))
    assert "turns=1  in force" in attest("audit", "hold", "list")
    attest("audit", "erase", "alice", "--case", "GDPR-5", code=4)
    (tmp_path / "none").write_text(" \n", "utf-8")
    attest(*case, "--turns", str(tmp_path / "none"), code=2)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    attest(*case, "--turns", str(tmp_path / "bytes"), code=2)
    (tmp_path / "other").write_text("nothing", "utf-8")
    attest(*case, "--turns", str(tmp_path / "other"), code=4)


def test_a_hold_an_erasure_and_its_release(attest, append):
    append(*a_turn("t1"), *a_turn("t2", subject="bob"))
    hold = attest("audit", "hold", "place", "--case", "17", "--reason", "court", "--subject", "alice").strip()
    assert hold in attest("audit", "hold", "list")
    attest("audit", "erase", "alice", "--case", "GDPR-4", code=4)
    assert message(attest, "t1") == "你好"
    assert "pending" in attest("audit", "erase", "--list")
    assert "alice" in attest("audit", "hold", "release", hold)
    assert message(attest, "t1") == ""
    assert message(attest, "t2") == "你好"
    assert attest("audit", "hold", "list") == ""
    assert json.loads(attest("audit", "hold", "list", "--all", "--json"))[0]["released_by"] == ME
    assert "done" in attest("audit", "erase", "--list")
    assert attest("audit", "erase", "--pending") == attest("audit", "erase", "--reapply") == ""
    kinds = ("hold.placed", "access.denied", "hold.released", "subject.erased")
    assert [(one["kind"], one["subject"]) for one in records(attest, *kinds)] == [
        ("hold.placed", ME), ("access.denied", ME), ("hold.released", ME), ("subject.erased", "alice")
    ]  # fmt: skip
    attest("audit", "checkpoint")
    attest("audit", "fsck")


def test_erasing_and_what_is_refused(attest, append, tmp_path):
    append(*a_turn("t1"))
    attest("audit", "erase", "nobody", "--case", "1", code=4)
    (done,) = json.loads(attest("audit", "erase", "alice", "--case", "GDPR-4", "--json"))
    assert (done["state"], done["subject"]) == ("done", "alice")
    assert stat.S_IMODE((tmp_path / "erasures.ledger").stat().st_mode) == 0o600
    attest("audit", "hold", "release", "nothing", code=4)
    attest("audit", "approve", "grant", "nothing", code=4)
    (tmp_path / "erasures.ledger").write_text("nonsense\n{}\n")
    attest("audit", "erase", "--reapply", code=3)


def test_four_eyes(attest, append, monkeypatch, another_officer):
    monkeypatch.setenv("ATTEST_AUDIT_FOUR_EYES", "erase, hold_release")
    append(*a_turn("t1"))
    request = attest("audit", "erase", "alice", "--case", "GDPR-4", code=4).strip()
    assert request in attest("audit", "approve", "list")
    attest("audit", "approve", "grant", request, code=4)  # one's own
    assert message(attest, "t1") == "你好"
    hold = attest("audit", "hold", "place", "--case", "17", "--reason", "court", "--subject", "alice").strip()
    release = attest("audit", "hold", "release", hold, code=4).strip()
    refused = attest("audit", "hold", "release", hold, code=4).strip()
    other = another_officer()
    assert other in attest("audit", "approve", "refuse", refused)
    attest("audit", "approve", "grant", refused, code=4)
    attest("audit", "approve", "grant", request, code=4)  # granted, but held
    assert message(attest, "t1") == "你好"
    assert "alice" in attest("audit", "approve", "grant", release)
    assert message(attest, "t1") == ""
    assert attest("audit", "approve", "list") == ""
    assert len(json.loads(attest("audit", "approve", "list", "--all", "--json"))) == 3
    (erased,) = records(attest, "subject.erased")
    assert erased["detail"]["requested_by"] == ME
    assert [one["subject"] for one in records(attest, "approval.requested")] == [ME] * 3
    assert [one["detail"]["decision"] for one in records(attest, "approval.decided")] == [
        "refused", "approved", "approved"
    ]  # fmt: skip


def test_retention(attest, append):
    append(*a_turn("old", **OLD), *a_turn("new"))
    attest("audit", "checkpoint")
    said = json.loads(attest("audit", "retention", "run", "--dry-run", "--json"))
    assert (said["pruned"], said["held"]) == (3, 0)
    assert message(attest, "old") == "你好"
    done = json.loads(attest("audit", "retention", "run", "--json"))
    assert (done["pruned"], done["ranges"]) == (3, 1)
    attest("audit", "show", "old", code=1)
    assert message(attest, "new") == "你好"
    attest("audit", "checkpoint")
    attest("audit", "fsck")
    assert "0 records" in attest("audit", "retention", "run")


@pytest.mark.parametrize(("hours", "left"), [(24, []), (0, ["old"])])
def test_the_gateway_prunes_by_itself_where_that_was_asked_for(
    attest, append, monkeypatch, empty_database, tmp_path, hours, left
):
    monkeypatch.setattr(governance, "FIRST_PRUNING_S", 0.05)
    append(*a_turn("old", **OLD), *a_turn("new"))
    attest("audit", "checkpoint")
    faults: list[Exception] = []

    async def work() -> None:
        settings = Settings(data_dir=tmp_path, database_url=empty_database, audit_retention_every_hours=hours)
        engine = make_engine(empty_database)
        async with governance.make_governance(settings, engine, faults.append).at_work():
            for _ in range(100 if hours else 5):
                async with engine.connect() as connection:
                    rows = await connection.execute(text("SELECT turn_id FROM audit_turn ORDER BY turn_id"))
                    turns = list(rows.scalars())
                if "old" not in turns:
                    break
                await asyncio.sleep(0.1)
        await engine.dispose()
        assert turns == ["new", *left]

    asyncio.run(work())
    assert faults == []


def test_the_master_key_may_come_from_the_environment(attest, append, monkeypatch, tmp_path):
    append(*a_turn("t1"))
    file = tmp_path / "master.key"
    key = file.read_text()
    file.unlink()
    attest("audit", "show", "t1", code=3)
    monkeypatch.setenv("ATTEST_MASTER_KEY", key)
    assert message(attest, "t1") == "你好"
    for wrong in ("not base64!", key[:20], "c2hvcnQ="):
        monkeypatch.setenv("ATTEST_MASTER_KEY", wrong)
        attest("audit", "show", "t1", code=3)
    assert not file.exists()


def test_anchors_and_what_waits_for_them(attest, append, tmp_path, monkeypatch):
    folder = tmp_path / "far"
    monkeypatch.setenv("ATTEST_ANCHOR_FOLDER", str(folder))
    append(*a_turn("old", **OLD))
    attest("audit", "checkpoint")
    attest("audit", "anchor", "run", code=3)  # not mounted
    assert "3 stay: not proven outside" in attest("audit", "retention", "run")
    folder.mkdir()
    (kept,) = json.loads(attest("audit", "anchor", "run", "--json"))
    file = folder / f"{kept['tree_size']:020}.checkpoint"
    assert kept["receipt"] == str(file)
    assert file.read_text().splitlines()[1] == str(kept["tree_size"])
    assert kept["receipt"] in attest("audit", "anchor", "list")
    assert "3 records" in attest("audit", "retention", "run")
    assert len(records(attest, "checkpoint.anchored")) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("hold", "place", "--case", "17"),
        ("erase",),
        ("erase", "alice"),
        ("erase", "--case", "17"),
        ("erase", "alice", "--case", "17", "--pending"),
        ("retention",),
        ("approve", "grant"),
        ("anchor", "nonsense"),
    ],
)
def test_wrong_use_is_code_2(attest, words):
    attest("audit", *words, code=2)


def test_too_short_a_retention_is_refused(attest, monkeypatch):
    monkeypatch.setenv("ATTEST_AUDIT_RETENTION_DAYS", "179")
    attest("audit", "retention", "run", code=3)
    monkeypatch.setenv("ATTEST_AUDIT_RETENTION_DAYS", "180")
    monkeypatch.setenv("ATTEST_AUDIT_FOUR_EYES", "everything")
    attest("audit", "retention", "run", code=3)


def test_replay_says_what_it_cannot(attest, append):
    append(*a_turn("t1"))
    done = json.loads(attest("audit", "replay", "t1", "--json", code=6))
    assert (done["outcome"], done["why"]) == ("cannot", "policy")
    assert "cannot (other policy: no record holds" in attest("audit", "replay", "t1", code=6)
    attest("audit", "replay", "nothing", code=1)
    attest("audit", "replay", "x" * 300, code=2)
    read = records(attest, "access.read")
    assert [(one["turn_id"], one["detail"].get("replay"), one["detail"].get("of_subject")) for one in read] == [
        ("t1", "cannot", "alice"), ("t1", "cannot", "alice"), ("nothing", None, None)
    ]  # fmt: skip
    assert {one["detail"]["content"] for one in read} == {False}


def test_replay_with_the_recorded_policy(attest, append):
    safety = build_safety()
    asyncio.run(safety.close())
    hashes = {
        "policy_hash": safety.policy_hash, "classifier_hash": safety.classifier_hash, "normaliser_version": VERSION
    }  # fmt: skip
    policy = Content("policy", "", msgspec.json.encode(safety.policy).decode())
    append(entry(Kind.POLICY_ACTIVATED, policy, turn="", **{**hashes, "subject": "attest"}))
    accepted, released, completed = a_turn("t1", **hashes)
    append(accepted, released, msgspec.structs.replace(completed, verdict="allow"))
    assert attest("audit", "replay", "t1").strip() == "t1: same"
