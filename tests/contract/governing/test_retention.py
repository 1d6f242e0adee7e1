"""What is due is emptied and proofs survive; whatever has a reason to stay stays, and each pruning is on record."""

from datetime import UTC, datetime, timedelta

import pytest

from audit import retention as module
from audit.canonical import leaf_hash
from audit.governing import GoverningError
from audit.hold import HoldOrder
from audit.ports import AuditIntegrityError, AuditUnavailableError, TurnFilter
from audit.prover import Prover, parsed
from audit.pruning import contiguous
from audit.record import Content, Kind
from audit.retention import MINIMUM, Keeping, Retention
from audit.tree import verify_inclusion
from tests.contract.audit.turns import accepted, completed, entry
from tests.contract.governing.conftest import OLD

CASE = {"case_number": "2026-17", "reason": "court order"}
OLDER = OLD + timedelta(days=10)


async def indices(raw, where: str) -> list[int]:
    return [row[0] for row in await raw.run(f"SELECT leaf_index FROM audit_entry WHERE {where} ORDER BY leaf_index")]


async def test_what_is_due_is_emptied_and_the_rest_is_as_it_was(log, raw, retention):
    await log.add_turn("old1", age=OLD, history=("Shared", "Old only"))
    await log.add_turn("new", history=("Shared",))
    await log.add_turn("old2", "bob", age=OLD)
    await log.append(entry(Kind.LOGIN, "", "bob", at=datetime.now(UTC) - OLD))
    size = await log.sign()
    prover, ((entry_id,),) = Prover(log.engine), await raw.run("SELECT entry_id FROM audit_entry WHERE leaf_index = 1")
    before = await prover.inclusion(str(entry_id))
    done = await retention.run()
    assert (done.pruned, done.ranges, done.texts) == (7, 2, 3)
    assert (done.held, done.undelivered, done.unproven, done.waiting) == (0, 0, 0, 0)
    assert await indices(raw, "length(leaf) = 0") == [0, 1, 2, 6, 7, 8, 9]
    assert await raw.run("SELECT DISTINCT subject, turn_id FROM audit_entry WHERE length(leaf) = 0") == [("", "")]
    assert [turn.turn_id for turn in await log.log.turns(TurnFilter())] == ["new"]
    assert await log.turn("old1") is None
    kept = await log.turn("new")
    assert kept is not None
    assert [one.text for one in kept.dialogue] == ["Shared", "Question of new"]
    assert kept.delivered == "Answer of new"
    assert await raw.run("SELECT count(*) FROM audit_content") == [(3,)]
    assert await raw.run("SELECT count(*) FROM audit_text") == [(2,)]
    assert await raw.run("SELECT DISTINCT turn_id FROM audit_facet") == [("new",)]
    first, second = await log.records("retention.pruned")
    assert (first.detail["first"], first.detail["last"], first.detail["count"]) == (0, 2, 3)
    assert (second.detail["first"], second.detail["last"], second.detail["count"]) == (6, 9, 4)
    assert await log.flaws() == []
    assert await log.sign() == size + 2
    latest = parsed(await prover.latest())
    verify_inclusion(1, latest.size, leaf_hash(before.leaf), latest.root_hash, await prover.path_of(1, latest.size))


async def test_a_second_run_finds_nothing(log, retention):
    await log.add_turn("old", age=OLD)
    await log.sign()
    assert (await retention.run()).pruned == 3
    await log.sign()
    assert (await retention.run()).pruned == 0
    assert len(await log.records("retention.pruned")) == 1


async def test_a_dry_run_changes_nothing_and_says_the_same(log, raw, retention, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 4)
    for at in range(5):
        await log.add_turn(f"old{at}", age=OLD)
    await log.sign()
    said = await retention.run(dry=True)
    assert await indices(raw, "length(leaf) = 0") == []
    assert await log.records("retention.pruned") == []
    done = await retention.run()
    assert said.pruned == done.pruned == 15
    assert await log.flaws() == []


async def test_a_turn_goes_whole_or_not_at_all(log, raw, retention):
    long_ago, later = datetime.now(UTC) - OLD, datetime.now(UTC)
    await log.append(accepted("straddling", at=long_ago))
    await log.append(completed("x", "straddling", at=later))
    await log.append(accepted("open", at=long_ago))
    await log.add_turn("old", age=OLD)
    await log.append(entry(Kind.FEEDBACK_GIVEN, "old", contents=(Content("comment", "user", "fine"),)))
    await log.sign()
    done = await retention.run()
    assert (done.pruned, done.waiting) == (3, 2)
    assert await indices(raw, "length(leaf) = 0") == [3, 4, 5]
    assert await log.turn("straddling") is not None
    assert await log.turn("old") is None  # what was said about it later goes by its own age
    assert len(await log.records("feedback.given")) == 1
    assert await log.flaws() == []


@pytest.mark.parametrize(
    ("order", "pruned"),
    [
        ({"everything": True}, []),
        ({"subject": "alice"}, ["b1"]),
        ({"conversation_id": "ca2"}, ["a1", "b1"]),
        ({"since": datetime.now(UTC) - OLD - timedelta(days=1)}, ["a1"]),
        ({"until": datetime.now(UTC) - OLD - timedelta(days=1)}, ["a2", "b1"]),
        ({"subject": "bob", "conversation_id": "ca2"}, ["a1", "a2", "b1"]),
    ],
)
async def test_what_is_held_stays_until_the_hold_is_released(log, holds, retention, order, pruned):
    await log.add_turn("a1", "alice", age=OLDER, conversation_id="ca1", history=("Same",))
    await log.add_turn("a2", "alice", age=OLD, conversation_id="ca2", history=("Same",))
    await log.add_turn("b1", "bob", age=OLD, conversation_id="cb1")
    await log.sign()
    hold = await holds.place(HoldOrder(**CASE, **order), "cli:carol")
    done = await retention.run()
    assert [turn for turn in ("a1", "a2", "b1") if await log.turn(turn) is None] == pruned
    assert (done.pruned, done.held) == (3 * len(pruned), 9 - 3 * len(pruned))
    if await log.turn("a2") is not None:
        trail = await log.turn("a2")
        assert [one.text for one in trail.dialogue] == ["Same", "Question of a2"]
    await holds.release(hold.hold_id, "cli:carol")
    await log.sign()
    assert (await retention.run()).pruned == 9 - 3 * len(pruned)
    assert await log.flaws() == []


async def test_only_what_is_proven_and_delivered_goes(log, raw, governor):
    keeping = Keeping(MINIMUM, delivery=True, places=("file:/far", "s3:b"))
    retention = Retention(governor, keeping)
    await log.add_turn("old1", age=OLD)
    assert (await retention.run()).pruned == 0  # no place in the log yet
    size = await log.sign()
    assert (await retention.run()).unproven == 3  # stands nowhere outside
    anchor = "INSERT INTO anchor (place, tree_size, at_us, receipt) VALUES"
    await raw.run(f"{anchor} ('file:/far', {size}, 0, '')")
    assert (await retention.run()).unproven == 3
    await raw.run(f"{anchor} ('s3:b', {size}, 0, '')")
    await log.add_turn("old2", age=OLD)
    await log.sign()
    done = await retention.run()
    assert (done.undelivered, done.unproven) == (3, 3)
    await raw.run("DELETE FROM outbox")
    done = await retention.run()
    assert (done.pruned, done.unproven) == (3, 3)
    assert await log.turn("old2") is not None
    assert await log.flaws() == []


async def test_a_dead_letter_is_not_delivered(log, raw, governor):
    await log.add_turn("old", age=OLD)
    await log.sign()
    await raw.run("DELETE FROM outbox WHERE entry_id <> (SELECT min(entry_id) FROM outbox)")
    await raw.run("UPDATE outbox SET dead_us = 1")
    done = await Retention(governor, Keeping(MINIMUM, delivery=True)).run()
    assert (done.pruned, done.undelivered, done.waiting) == (0, 1, 2)


async def test_without_a_search_store_nothing_waits_for_delivery(log, raw, retention):
    await log.add_turn("old", age=OLD)
    await log.sign()
    assert (await retention.run()).pruned == 3
    assert await raw.run("SELECT count(*) FROM outbox WHERE due_us = 0") == [(1,)]  # of the record of the pruning


async def test_what_says_what_was_done_is_kept_for_good(log, governor, raw):
    at = datetime.now(UTC) - OLD
    for kind in module.KEPT:
        await log.append(entry(kind, "", "cli:carol", at=at, detail={"first": 7, "last": 6}))
    await log.sign()
    done = await Retention(governor, Keeping(MINIMUM)).run()
    assert (done.pruned, done.held + done.waiting + done.unproven) == (0, 0)
    assert await log.flaws() == []


async def test_an_altered_record_is_evidence_and_stays(log, raw, retention):
    await log.add_turn("old", age=OLD)
    await log.sign()
    await raw.disarm()
    other = "x'7b7d'" if raw.sqlite else "'\\x7b7d'::bytea"
    await raw.run(f"UPDATE audit_entry SET leaf = {other} WHERE leaf_index = 1")
    with pytest.raises(AuditIntegrityError, match="index 1 was altered"):
        await retention.run()
    assert await indices(raw, "length(leaf) = 0") == []
    assert await log.records("retention.pruned") == []


@pytest.mark.parametrize("days", [0, 1, 179, 179.99])
async def test_keeping_for_less_than_the_law_asks_is_refused(governor, days):
    with pytest.raises(GoverningError, match="at least 180 days"):
        Retention(governor, Keeping(timedelta(days=days)))


async def test_the_database_itself_refuses_what_is_younger(log, raw, governor, monkeypatch):
    """Somebody takes the check out of the code: the database's clock still says no."""
    await log.add_turn("young", age=timedelta(days=170))
    await log.sign()
    monkeypatch.setattr(Keeping, "check", lambda _: None)
    retention = Retention(governor, Keeping(timedelta(days=100)))
    with pytest.raises(GoverningError, match="clock"):
        await retention.run()

    async def unchecked(*_, **__) -> None: ...

    monkeypatch.setattr(module, "_check_clock", unchecked)
    with pytest.raises(AuditUnavailableError, match="cannot be changed now"):
        await retention.run()
    assert await indices(raw, "length(leaf) = 0") == []
    assert await log.flaws() == []


async def test_a_longer_time_keeps_longer(log, governor):
    await log.add_turn("old", age=OLD)
    await log.sign()
    assert (await Retention(governor, Keeping(timedelta(days=365))).run()).pruned == 0


def test_runs_of_neighbours():
    assert contiguous([]) == []
    assert contiguous([5, 1, 2, 3, 9, 8]) == [(1, 3), (5, 5), (8, 9)]
