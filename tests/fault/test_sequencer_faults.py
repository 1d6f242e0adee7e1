"""The database locked, full, gone and back, the folder of keys gone, the clock stepped back: nothing is lost or signed
wrongly, and the sequencer goes on by itself."""

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from audit.fsck import Fsck
from audit.ports import AuditUnavailableError
from audit.prover import Prover
from audit.sequencer import Sequencer, SequencerLimits
from audit.signing import SigningKeyError, SigningKeys
from gateway.database import make_engine
from migrations.run import upgrade
from tests.contract.audit.conftest import Raw, opened
from tests.contract.audit.test_log_survives_faults import SHORT, fill, locked
from tests.contract.audit.turns import accepted
from tests.rig.postgres import own_postgres

FAST = SequencerLimits(cadence_s=0.02, pause_s=0.0, step_s=0.6, longest_wait_s=0.1)


@asynccontextmanager
async def running(database: str, folder, limits: SequencerLimits = FAST):
    """A log and its sequencer; afterwards nothing is wrong and every record has its place."""
    engine, faults = make_engine(database), []
    keys = SigningKeys(folder / "signing")
    sequencer = Sequencer(engine, keys, limits, faults.append)
    async with opened(database, SHORT) as log:
        await sequencer.start()
        yield log, sequencer, faults
        await until(lambda: sequencer.status.tree_size > 0 and sequencer._failures == 0)
        await sequencer.close()
    await Sequencer(engine, keys, FAST).catch_up()
    assert [flaw async for flaw in Fsck(engine, keys.load()).flaws()] == []
    await engine.dispose()
    rows = await Raw(database).run("SELECT leaf_index FROM audit_entry ORDER BY leaf_index")
    assert rows == [(index,) for index in range(len(rows))]


async def until(condition) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it does not come to that")


async def test_a_locked_database_delays_and_loses_nothing(database, tmp_path):
    async with running(database, tmp_path) as (log, sequencer, faults):
        await log.append(accepted("before"))
        await until(lambda: sequencer.status.tree_size == 1)
        async with locked(database):
            await until(lambda: len(faults) >= 2)
        assert {type(fault) for fault in faults} == {AuditUnavailableError}
        await log.append(accepted("after"))
        await until(lambda: sequencer.status.tree_size == 2)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_sqlite_file_gone_and_back(database, tmp_path):
    path, away = Path(str(make_url(database).database)), tmp_path / "away"
    away.mkdir()
    sides = [path.with_name(path.name + side) for side in ("", "-wal", "-shm")]
    async with running(database, tmp_path) as (log, sequencer, _):
        await log.append(accepted("before"))
        await until(lambda: sequencer.status.tree_size == 1)
        for one in sides:
            one.rename(away / one.name)
        for _ in range(2):
            with pytest.raises(AuditUnavailableError):
                await log.append(accepted("during"))
        assert not await log.ready()
        for one in (away / side.name for side in sides):
            if one.exists():
                one.rename(path.with_name(one.name))
        await log.append(accepted("after"))
        sequencer.appended(1)
        await until(lambda: sequencer.status.tree_size >= 2 and sequencer._failures == 0)
        assert await log.turn("after") is not None


@pytest.fixture
def own_server():
    with own_postgres() as server:
        yield server


async def test_postgresql_gone_and_back(own_server, tmp_path):
    database = own_server.url.render_as_string(hide_password=False)
    await asyncio.to_thread(upgrade, database)
    async with running(database, tmp_path) as (log, sequencer, faults):
        await log.append(accepted("before"))
        await until(lambda: sequencer.status.tree_size == 1)
        await asyncio.to_thread(own_server.stop)
        await until(lambda: len(faults) >= 2)
        await asyncio.to_thread(own_server.start)
        await until(lambda: sequencer._failures == 0)
        await log.append(accepted("after"))
        await until(lambda: sequencer.status.tree_size == 2)


@pytest.mark.parametrize("keys_too", [False, True])
async def test_a_full_disk_delays_and_loses_nothing(small, tmp_path, keys_too):
    acknowledged: list[str] = []
    async with running(small.database, small.folder if keys_too else tmp_path) as (log, sequencer, faults):
        with pytest.raises(AuditUnavailableError):
            await fill(log, acknowledged)
        sequencer.appended(1000)
        await until(lambda: faults or sequencer.status.tree_size == len(acknowledged))
        small.make_room()
        await until(lambda: sequencer.status.tree_size >= len(acknowledged) > 0)
        await log.append(accepted("after"))
        await until(lambda: sequencer.status.tree_size > len(acknowledged))


async def test_a_folder_of_keys_that_cannot_be_written_is_told_and_signs_no_second_tree(database, tmp_path):
    async with running(database, tmp_path) as (log, sequencer, faults):
        await log.append(accepted("before"))
        await until(lambda: sequencer.status.tree_size == 1)
        (tmp_path / "signing" / "current.key").rename(tmp_path / "away")
        await log.append(accepted("during"))
        await until(lambda: len(faults) >= 2)
        assert {type(fault) for fault in faults} == {SigningKeyError}
        assert sequencer.status.tree_size == 1
        (tmp_path / "away").rename(tmp_path / "signing" / "current.key")
        await until(lambda: sequencer.status.tree_size == 2)


async def test_a_clock_that_steps_back_changes_no_order(database, tmp_path, monkeypatch):
    real, step_ns = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + step_ns[0])
    async with running(database, tmp_path) as (log, sequencer, faults):
        for number, hours in enumerate((0, -1, 2, -500)):
            step_ns[0] = hours * 3_600_000_000_000
            await log.append(accepted(f"t{number}"))
            await until(lambda number=number: sequencer.status.tree_size == number + 1)
        assert not faults
    rows = await Raw(database).run("SELECT turn_id FROM audit_entry ORDER BY leaf_index")
    assert rows == [("t0",), ("t1",), ("t2",), ("t3",)]


async def test_a_clock_that_steps_back_changes_no_order_among_those_that_wait(database, tmp_path, monkeypatch):
    real, step_ns = time.time_ns, [0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + step_ns[0])
    async with opened(database) as log:
        for number, hours in enumerate((0, -1, 2, -500)):
            step_ns[0] = hours * 3_600_000_000_000
            await log.append(accepted(f"t{number}"))
    monkeypatch.undo()
    engine = make_engine(database)
    await Sequencer(engine, SigningKeys(tmp_path / "signing"), FAST).catch_up()
    await engine.dispose()
    rows = await Raw(database).run("SELECT turn_id FROM audit_entry ORDER BY leaf_index")
    assert rows == [("t0",), ("t1",), ("t2",), ("t3",)]


async def test_a_record_of_a_clock_behind_comes_after_those_that_are_there(database, tmp_path, monkeypatch):
    """Another gateway's clock is an hour behind: its ids are smaller, its places are not."""
    async with running(database, tmp_path) as (log, sequencer, _):
        await log.append(accepted("now"))
        await until(lambda: sequencer.status.tree_size == 1)
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() - 3_600_000_000_000)
        async with opened(database) as other:
            (receipt,) = await other.append(accepted("behind"))
        monkeypatch.undo()
        await until(lambda: sequencer.status.tree_size == 2)
        engine = make_engine(database)
        assert (await Prover(engine).inclusion(receipt.entry_id)).index == 1
        await engine.dispose()
