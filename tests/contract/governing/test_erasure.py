"""An erased person's texts are gone for good, everywhere and after a restore; records stay; holds come first."""

import asyncio

import pytest

from audit.erasure import SETTLED_US, Erasures, HeldError, State
from audit.governing import GoverningError
from audit.hold import HoldOrder
from audit.ledger import ErasureLedger, LedgerError
from audit.ports import AuditUnavailableError
from audit.record import Content, Kind
from gateway.history.erasure import HistoryOfPerson
from gateway.history.store import HistoryStore
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import entry
from tests.contract.governing.conftest import erase

CASE = {"case_number": "GDPR-4", "reason": "asked"}


async def stored(raw) -> dict[str, int]:
    return {
        table: (await raw.run(f"SELECT count(*) FROM {table}"))[0][0]
        for table in ("audit_entry", "audit_content", "audit_text")
    }


async def test_texts_go_and_records_stay(log, raw, erasures, ledger):
    await log.add_turn("t1", history=("Earlier",))
    await log.add_turn("t2", "bob", history=("Earlier",))
    before = await stored(raw)
    done = await erase(erasures)
    after = await stored(raw)
    assert done.state == State.DONE
    assert {name: before[name] - after[name] for name in before} == {
        "audit_entry": -1, "audit_content": 3, "audit_text": 2
    }  # fmt: skip
    trail = await log.turn("t1")
    assert trail is not None
    assert (trail.message, trail.generated, trail.delivered) == ("", "", "")
    assert [one.text for one in trail.dialogue] == ["", ""]
    assert len(trail.records) == 3
    kept = await log.turn("t2")
    assert kept is not None
    assert kept.message == "Question of t2"
    keys = await raw.run("SELECT subject, wrapped, destroyed_us FROM subject_key ORDER BY created_us")
    assert (keys[0][0], keys[0][1], keys[0][2]) == ("alice", None, done.done_us)
    assert keys[1][1] is not None
    (record,) = await log.records("subject.erased")
    assert record.subject == "alice"
    assert record.detail == {
        "erasure_id": done.erasure_id, "case_number": "GDPR-4", "requested_by": "cli:carol", "keys": 1
    }  # fmt: skip
    assert [(line.subject, line.erasure_id) for line in ledger.lines()] == [("alice", done.erasure_id)]
    assert await log.flaws() == []


async def test_who_goes_on_gets_a_new_key_and_old_texts_stay_gone(log, raw, erasures):
    await log.add_turn("t1", history=("Earlier",))
    await erase(erasures)
    await log.add_turn("t2", history=("Earlier",))  # the writer still had the old key in memory
    trail = await log.turn("t2")
    assert trail is not None
    assert [one.text for one in trail.dialogue] == ["Earlier", "Question of t2"]
    assert (trail.message, trail.delivered) == ("Question of t2", "Answer of t2")
    again = await log.turn("t1")
    assert again is not None
    assert again.message == ""
    assert await raw.run("SELECT count(*) FROM subject_key WHERE destroyed_us IS NULL") == [(1,)]
    assert await log.flaws() == []


async def test_a_gateway_that_writes_meanwhile_never_uses_a_destroyed_key(database, log, raw, erasures):
    """Two logs write for the person while it is erased again and again: every text is readable, or was erased."""
    ending = asyncio.Event()

    async def talk(writer, name: str) -> int:
        count = 0
        while not ending.is_set():
            await writer.append(entry(Kind.TURN_REFUSED, f"{name}{count}", contents=(Content("message", "user", "x"),)))
            count += 1
        return count

    async with opened(database) as other:
        talking = [asyncio.create_task(talk(log.log, "a")), asyncio.create_task(talk(other, "b"))]
        for _ in range(8):
            await asyncio.sleep(0.1)
            await erase(erasures)
        ending.set()
        counts = await asyncio.gather(*talking)
    assert min(counts) > 1
    under_destroyed = (
        "SELECT count(*) FROM audit_content c JOIN subject_key k ON k.key_id = c.key_id WHERE destroyed_us IS NOT NULL"
    )
    assert await raw.run(under_destroyed) == [(0,)]
    assert await log.flaws() == []


async def test_a_key_destroyed_just_before_a_turn_commits(log, raw, erasures, meanwhile):
    await log.add_turn("t1", history=("Earlier",))
    done = meanwhile(lambda: erase(erasures))
    await log.add_turn("t2", history=("Earlier",))
    assert done[0].state == State.DONE
    trail = await log.turn("t2")
    assert [one.text for one in trail.dialogue] == ["Earlier", "Question of t2"]
    assert trail.message == "Question of t2"
    assert (await log.turn("t1")).message == ""
    assert await log.flaws() == []


async def test_a_hold_beats_an_erasure_until_it_is_released(log, raw, erasures, holds):
    await log.add_turn("t1")
    hold = await holds.place(HoldOrder(**CASE, subject="alice"), "cli:dave")
    with pytest.raises(HeldError, match=hold.hold_id):
        await erasures.attempt(await erasures.request("alice", "GDPR-4", "cli:carol"), "cli:carol")
    (record,) = await log.records("access.denied")
    assert (record.subject, record.reason) == ("cli:carol", "held")
    assert record.detail["hold_id"] == hold.hold_id
    assert [one.state for one in await erasures.listed()] == [State.PENDING]
    assert await erasures.carry_out_pending() == ()
    assert (await log.turn("t1")).message == "Question of t1"
    await holds.release(hold.hold_id, "cli:dave")
    assert [one.state for one in await erasures.carry_out_pending()] == [State.DONE]
    assert (await log.turn("t1")).message == ""
    assert await log.flaws() == []


async def test_many_texts_go_in_small_parts_and_whoever_comes_next_goes_on(
    log, raw, governor, ledger, erasures, monkeypatch
):
    """The keys are destroyed at once; a process that ends while texts are removed leaves nothing that can be read."""
    monkeypatch.setattr("audit.emptying.ROWS", 2)
    for turn in ("t1", "t2", "t3"):
        await log.add_turn(turn, history=(f"Earlier than {turn}",))
    await log.add_turn("t4", "bob", history=("Earlier",))
    transaction, begun = governor.transaction, []

    def ending(*, after: int):
        begun.append(None)
        if len(begun) > after:
            raise AuditUnavailableError("killed here")
        return transaction()

    monkeypatch.setattr(governor, "transaction", lambda: ending(after=3))
    done = await erase(erasures)
    monkeypatch.setattr(governor, "transaction", transaction)
    left = await stored(raw)
    assert done.state == State.DESTROYED
    assert (left["audit_content"], left["audit_text"]) == (10, 4)
    assert (await log.turn("t1")).message == ""
    assert len(await log.records("subject.erased")) == 1
    assert await erasures.reapply() == ()
    assert [one.state for one in await erasures.carry_out_pending()] == [State.DONE]
    left = await stored(raw)
    assert (left["audit_content"], left["audit_text"]) == (3, 2)
    assert [one.text for one in (await log.turn("t4")).dialogue] == ["Earlier", "Question of t4"]
    assert await log.flaws() == []


async def test_the_history_goes_too(log, engine, erasures):
    await log.add_turn("t1")
    history = HistoryStore(engine)
    theirs, another = await history.create("alice", "My secret"), await history.create("bob", "Other")
    running = await history.begin_turn(theirs.id, "t9", "typed")
    await history.begin_turn(another.id, "t8", "typed")
    await erase(erasures)
    assert await history.conversation("alice", theirs.id) is None
    assert await history.messages(theirs.id) == ()
    assert len(await history.messages(another.id)) == 2
    await history.save_text(running.answer, "late")  # the turn that was running harms nothing
    assert await history.messages(theirs.id) == ()


async def test_only_the_history_is_known_of_someone(engine, erasures):
    await HistoryStore(engine).create("zoe", "Empty")
    assert (await erase(erasures, "zoe")).state == State.DONE


@pytest.mark.parametrize(("subject", "case"), [("nobody", "1"), ("attest", "1"), ("alice", ""), ("alice", "x\ty")])
async def test_what_cannot_be_erased(log, erasures, subject, case):
    await log.add_turn("t1")
    with pytest.raises(GoverningError):
        await erasures.check(subject, case)
    with pytest.raises(GoverningError):
        await erasures.carry_out("nothing")


async def test_it_is_done_once(log, erasures):
    await log.add_turn("t1")
    done = await erase(erasures)
    assert await erasures.carry_out(done.erasure_id) == done
    assert len(await log.records("subject.erased")) == 1
    assert await erasures.reapply() == ()


async def test_a_ledger_that_cannot_be_written_stops_it(log, governor, tmp_path):
    (tmp_path / "file").write_text("")
    await log.add_turn("t1")
    with pytest.raises(LedgerError, match="cannot be written"):
        await erase(Erasures(governor, ErasureLedger(tmp_path / "file" / "ledger")))
    assert (await log.turn("t1")).message == "Question of t1"


async def test_killed_between_ledger_and_commit(log, governor, ledger, erasures):
    """The ledger has it, the database does not: the next start finishes it, and newer texts stay."""
    await log.add_turn("t1")

    class Killed(ErasureLedger):
        def append(self, line):
            super().append(line)
            raise LedgerError("killed here")

    with pytest.raises(LedgerError):
        await erase(Erasures(governor, Killed(ledger.path), (HistoryOfPerson(),)))
    assert (await log.turn("t1")).message == "Question of t1"
    assert [one.state for one in await erasures.listed()] == [State.PENDING]
    assert [one.state for one in await erasures.reapply()] == [State.DONE]
    assert (await log.turn("t1")).message == ""
    assert [one.state for one in await erasures.listed()] == [State.DONE]
    (record,) = await log.records("subject.erased")
    assert record.detail["again"] is True
    assert await log.flaws() == []


class Store:
    """A search store that some texts come to late."""

    def __init__(self, *found: int) -> None:
        self.found, self.asked = list(found), []

    async def erase(self, subject: str, before_us: int) -> int:
        self.asked.append((subject, before_us))
        if not self.found:
            raise AuditUnavailableError("gone")
        return self.found.pop(0)


async def test_the_search_store_is_cleaned_until_nothing_comes_late(log, raw, governor, ledger):
    await log.add_turn("t1")
    store = Store(4, 1, 0, 1, 0)
    erasures = Erasures(governor, ledger, (), store)
    done = await erase(erasures)
    assert (done.state, store.asked) == (State.DESTROYED, [("alice", done.done_us)])
    for _ in range(2):  # nothing found, but something may still be on its way
        assert await erasures.carry_out_pending() == ()
    await raw.run(f"UPDATE erasure SET done_us = done_us - {SETTLED_US}")
    assert await erasures.carry_out_pending() == ()
    assert [one.state for one in await erasures.carry_out_pending()] == [State.DONE]
    assert await erasures.carry_out_pending() == ()
    assert len(store.asked) == 5


async def test_a_search_store_that_is_gone_delays_only_its_own_part(log, governor, ledger):
    await log.add_turn("t1")
    store = Store()
    erasures = Erasures(governor, ledger, (), store)
    assert (await erase(erasures)).state == State.DESTROYED
    assert (await log.turn("t1")).message == ""
    with pytest.raises(AuditUnavailableError):
        await erasures.carry_out_pending()
    assert [one.state for one in await erasures.listed()] == [State.DESTROYED]
    store.found = [0]
    assert await erasures.carry_out_pending() == ()
