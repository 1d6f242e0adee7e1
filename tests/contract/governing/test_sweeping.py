"""Texts of a dialogue go when no record refers to them any more, and never one that a new turn refers to."""

import asyncio
import contextlib
from datetime import UTC, datetime

from sqlalchemy import func, select

from audit import retention as module
from audit.sweeping import TextSweep
from audit.tables import AUDIT_TEXT
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted, completed
from tests.contract.governing.conftest import OLD


async def test_texts_that_a_new_turn_refers_to_meanwhile_stay(database, log, retention, raw):
    """Turns go on referring to an old text while it is swept again and again: none is ever lost."""
    await log.add_turn("old", age=OLD, history=("Shared",))
    ending = asyncio.Event()
    said = []

    async def talk(writer, name: str) -> None:
        count = 0
        while not ending.is_set():
            turn = f"{name}{count}"
            at = datetime.now(UTC) - OLD  # each is due itself as soon as it is closed and signed
            await writer.append(accepted(turn, at=at, history=("Shared", f"Own {count % 3}")))
            said.append(turn)
            trail = await writer.turn(turn)
            assert [one.text for one in trail.dialogue] == ["Shared", f"Own {count % 3}", "Hello?"]
            await writer.append(completed("x", turn, at=at))
            count += 1

    async with opened(database) as other:
        talking = [asyncio.create_task(talk(log.log, "a")), asyncio.create_task(talk(other, "b"))]
        for _ in range(8):
            await asyncio.sleep(0.05)
            await log.sign(1)
            await retention.run()
        ending.set()
        await asyncio.gather(*talking)
    await log.sign()
    await retention.run()
    assert len(said) > 8
    assert await raw.run("SELECT count(*) FROM audit_text") == [(0,)]
    assert await log.flaws() == []


async def test_a_text_swept_just_before_a_turn_with_it_commits(log, governor, retention, monkeypatch, meanwhile):
    await log.add_turn("old", age=OLD, history=("Shared",))
    await log.sign()
    with monkeypatch.context() as patch:
        patch.setattr(module, "TextSweep", lambda _: Nothing())
        assert (await retention.run()).texts == 0
    swept = meanwhile(TextSweep(governor).run)
    await log.append(accepted("new", history=("Shared",)))
    assert swept == [2]
    assert [one.text for one in (await log.turn("new")).dialogue] == ["Shared", "Hello?"]


async def test_many_texts_are_swept_in_short_transactions_that_each_look_again(log, raw, governor, monkeypatch):
    monkeypatch.setattr("audit.sweeping._AT_ONCE", 4)
    monkeypatch.setattr("audit.sweeping._IN_ONE_TRANSACTION", 2)
    await log.add_turn("new", history=("Shared",))
    ((key_id,),) = await raw.run("SELECT key_id FROM subject_key")
    await log.append(accepted("old", history=("Kept", *(f"Text {at}" for at in range(7)))))
    await raw.disarm()  # as if `old` had been pruned
    await raw.run("UPDATE audit_entry SET leaf = '' WHERE turn_id = 'old'")
    transaction, begun = governor.transaction, []

    @contextlib.asynccontextmanager
    async def short():
        if not begun:  # before the first of them, somebody refers to a text that was looked at already
            await log.append(accepted("newest", history=("Kept",)))
        async with transaction() as connection:
            before = await counted(connection)
            yield connection
            begun.append(before - await counted(connection))

    monkeypatch.setattr(governor, "transaction", short)
    assert await TextSweep(governor).run() == 8
    assert max(begun) <= 2
    texts = [one.text for turn in ("new", "newest") for one in (await log.turn(turn)).dialogue]
    assert texts == ["Shared", "Question of new", "Kept", "Hello?"]
    assert await raw.run(f"SELECT count(*) FROM audit_text WHERE key_id = '{key_id}'") == [(4,)]


async def counted(connection) -> int:
    return (await connection.execute(select(func.count()).select_from(AUDIT_TEXT))).scalar_one()


class Nothing:
    async def run(self) -> int:
        return 0
