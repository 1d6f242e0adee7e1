"""A gateway that is frozen while it holds the lock of governing and sequencing: the others go on, or say why not."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.governing import Governor
from audit.ports import AuditUnavailableError
from audit.sequence import take_lock
from audit.sequencer import Sequencer, SequencerLimits
from audit.signing import SigningKeys
from gateway.database import make_engine
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted

QUICK = SequencerLimits(cadence_s=0.05, healthy_s=0.5)


@pytest.fixture
async def engine(postgresql: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(postgresql)
    yield engine
    await engine.dispose()


@pytest.fixture
async def other(postgresql: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(postgresql)
    yield engine
    await engine.dispose()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("audit.governing", "audit.sequence"):
        monkeypatch.setattr(f"{module}.IDLE_S", 1)


@pytest.mark.usefixtures("short")
async def test_one_that_is_frozen_while_it_governs_loses_the_lock(engine: AsyncEngine, other: AsyncEngine):
    frozen = Governor(other).transaction()
    await frozen.__aenter__()
    began = time.monotonic()
    async with Governor(engine).transaction() as connection:
        await connection.execute(text("SELECT 1"))
    assert 0.5 < time.monotonic() - began < 10
    with pytest.raises(AuditUnavailableError):
        await frozen.__aexit__(None, None, None)


@pytest.mark.usefixtures("short")
async def test_one_that_is_frozen_while_it_sequences_loses_the_lock(
    engine: AsyncEngine, other: AsyncEngine, tmp_path: Path
):
    async with other.connect() as frozen:
        assert await take_lock(frozen)
        sequencer = Sequencer(engine, SigningKeys(tmp_path / "keys"))
        assert await sequencer.step() is None
        await asyncio.sleep(2)
        assert await sequencer.step() is not None
        await frozen.invalidate()


async def test_records_that_wait_for_one_that_is_frozen_are_told(
    postgresql: str, engine: AsyncEngine, other: AsyncEngine, tmp_path: Path
):
    sequencer = Sequencer(engine, SigningKeys(tmp_path / "keys"), QUICK)
    async with opened(postgresql) as log:
        await sequencer.start()
        async with other.connect() as frozen:
            while not await take_lock(frozen):
                await frozen.rollback()
            await asyncio.sleep(1)
            assert await sequencer.healthy()  # nothing waits
            await log.append(accepted("t"))
            await asyncio.sleep(1)
            assert not await sequencer.healthy()
        await asyncio.sleep(0.5)
        assert await sequencer.healthy()
        await sequencer.close()


async def test_many_who_wait_for_the_lock_leave_connections_to_the_others(engine: AsyncEngine, other: AsyncEngine):
    governor = Governor(engine)

    async def change() -> None:
        async with governor.transaction():
            pass

    async with other.connect() as frozen:
        assert await take_lock(frozen)
        waiting = [asyncio.create_task(change()) for _ in range(30)]
        await asyncio.sleep(0.5)
        async with asyncio.timeout(2), engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        assert not any(task.done() for task in waiting)
    async with asyncio.timeout(20):
        await asyncio.gather(*waiting)
