"""Killed at every step of pruning and erasing, on both databases: nothing half done, every hash in its place."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.erasure import Erasures, State
from audit.governing import Governor
from audit.ledger import ErasureLedger
from audit.log import SqlAuditLog
from audit.retention import MINIMUM, Keeping, Retention
from audit.signing import SigningKeys
from gateway.database import make_engine
from gateway.history.erasure import HistoryOfPerson
from tests.contract.audit.conftest import MASTER
from tests.contract.governing.conftest import OLD, Log
from tests.rig.databases import migrated

MOST_STEPS = 80
Work = Callable[[AsyncEngine], Awaitable[object]]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with migrated(request, request.param, tmp_path) as url:
        yield url


@asynccontextmanager
async def opened(database: str, folder: Path):
    engine = make_engine(database)
    try:
        async with SqlAuditLog(engine, MASTER) as log:
            yield Log(engine, log, SigningKeys(folder / "signing"))
    finally:
        await engine.dispose()


def killed_at(step: int, database: str, work: Work) -> bool:
    """Do some work in a process that is killed just before its nth step; say whether it got that far.

    Steps are statements, commits, and both sides of a write to the ledger.
    """
    child = os.fork()
    if not child:
        try:
            asyncio.run(_until_killed(step, database, work))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


async def _until_killed(step: int, database: str, work: Work) -> None:
    done = 0

    def another(*_: object) -> None:
        nonlocal done
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    execute, append = AsyncConnection.execute, ErasureLedger.append

    async def execute_counted(connection, *values, **options):
        another()
        return await execute(connection, *values, **options)

    def append_counted(ledger, line):
        another()
        append(ledger, line)
        another()

    AsyncConnection.execute = execute_counted
    ErasureLedger.append = append_counted
    engine = make_engine(database)
    event.listen(engine.sync_engine, "commit", another)
    await work(engine)
    await engine.dispose()


def test_killed_at_every_step_of_pruning(database: str, tmp_path: Path):
    async def prepare() -> None:
        async with opened(database, tmp_path) as log:
            for turn in ("old1", "old2"):
                await log.add_turn(turn, age=OLD, history=("Shared", f"Only {turn}"))
            await log.add_turn("new", history=("Shared",))
            await log.sign()

    async def check() -> bool:
        async with opened(database, tmp_path) as log:
            assert await log.flaws() == []
            there = [turn for turn in ("old1", "old2") if await log.turn(turn) is not None]
            assert there in ([], ["old1", "old2"])
            assert len(await log.records("retention.pruned")) == (not there)
            kept = await log.turn("new")
            assert [one.text for one in kept.dialogue] == ["Shared", "Question of new"]
            assert kept.delivered == "Answer of new"
            return not there

    async def prune(engine: AsyncEngine) -> None:
        await Retention(Governor(engine), Keeping(MINIMUM)).run()

    asyncio.run(prepare())
    found: list[bool] = []
    for step in range(1, MOST_STEPS):
        if not killed_at(step, database, prune):
            break
        found.append(asyncio.run(check()))
    else:
        pytest.fail("it never came to its end")
    assert asyncio.run(check())
    assert len(found) > 8
    assert sorted(found) == found  # once pruned, pruned


def test_killed_at_every_step_of_erasing(database: str, tmp_path: Path):
    ledger = ErasureLedger(tmp_path / "ledger")

    async def prepare() -> str:
        async with opened(database, tmp_path) as log:
            for person in ("alice", "bob"):
                await log.add_turn(f"of-{person}", person, history=("Shared",))
            asked = await Erasures(Governor(log.engine), ledger).request("alice", "GDPR-4", "cli:carol")
            return asked.erasure_id

    async def check() -> str:
        async with opened(database, tmp_path) as log:
            assert await log.flaws() == []
            (erasure,) = await Erasures(Governor(log.engine), ledger).listed()
            gone = await log.turn("of-alice")
            assert gone.message == ("" if erasure.state == State.DONE else "Question of of-alice")
            assert len(await log.records("subject.erased")) == (erasure.state == State.DONE)
            assert (await log.turn("of-bob")).message == "Question of of-bob"
            if erasure.state == State.DONE:
                assert ledger.lines()
            return erasure.state

    erasure_id = asyncio.run(prepare())

    async def erase(engine: AsyncEngine) -> None:
        await Erasures(Governor(engine), ledger, (HistoryOfPerson(),)).carry_out(erasure_id)

    async def restart(engine: AsyncEngine) -> None:
        await Erasures(Governor(engine), ledger, (HistoryOfPerson(),)).reapply()

    states: list[str] = []
    for step in range(1, MOST_STEPS):
        if not killed_at(step, database, erase):
            break
        states.append(asyncio.run(check()))
        if ledger.lines():  # from here on the next start finishes it: it is killed at every step, too
            break
    assert set(states) == {State.PENDING}
    for step in range(1, MOST_STEPS):
        if not killed_at(step, database, restart):
            break
        states.append(asyncio.run(check()))
    assert asyncio.run(check()) == State.DONE
    assert sorted(states, key=[State.PENDING, State.DONE].index) == states
    assert len(states) > 10
