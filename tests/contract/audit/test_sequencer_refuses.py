"""A database that was put in the place of the log, or that is gone, is told from the one that was signed."""

import asyncio
import shutil
import sqlite3
from contextlib import closing

import pytest

from audit.ports import AuditUnavailableError
from audit.sequencer import Sequencer, TreeRefusedError
from audit.signing import SigningKeys
from gateway.database import make_engine
from migrations.run import upgrade
from tests.contract.audit.conftest import opened
from tests.contract.audit.sequenced import SMALL, add


@pytest.fixture
def keys(tmp_path):
    return SigningKeys(tmp_path / "signing")


async def test_an_older_database_is_refused(tmp_path, keys):
    path, copy = tmp_path / "attest.db", tmp_path / "copy.db"
    database = f"sqlite+aiosqlite:///{path}"
    await asyncio.to_thread(upgrade, database)
    for turns in ("old", "new"):
        engine = make_engine(database)
        async with opened(database) as log:
            await add(log, 3, turns)
            await Sequencer(engine, keys, SMALL).step()
        await engine.dispose()
        if turns == "old":
            shutil.copy(path, copy)
    for side in ("-wal", "-shm"):
        (tmp_path / f"attest.db{side}").unlink(missing_ok=True)
    shutil.copy(copy, path)
    engine = make_engine(database)
    sequencer = Sequencer(engine, keys, SMALL)
    with pytest.raises(TreeRefusedError, match="a tree of 6 records was signed, but the database has 3"):
        await sequencer.step()
    async with opened(database) as log:
        await add(log, 5, "fork")
    with pytest.raises(TreeRefusedError):
        await sequencer.step()
    await sequencer.start()
    await asyncio.sleep(0.2)
    assert "not signed any more" in sequencer.status.refused
    assert not await sequencer.healthy()
    await sequencer.close()
    await engine.dispose()


async def test_a_copy_put_in_place_while_it_runs_is_refused_and_the_right_one_taken_up_again(tmp_path, keys):
    path, copy, away = tmp_path / "attest.db", tmp_path / "copy.db", tmp_path / "away"
    database = f"sqlite+aiosqlite:///{path}"
    await asyncio.to_thread(upgrade, database)
    engine = make_engine(database)
    sequencer = Sequencer(engine, keys, SMALL)
    async with opened(database) as log:
        await add(log, 3)
        await sequencer.step()
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(copy)) as other:
        one.backup(other)
    async with opened(database) as log:
        await add(log, 2, "u")
        await sequencer.step()
    away.mkdir()
    for side in ("", "-wal", "-shm"):
        if (tmp_path / f"attest.db{side}").exists():
            shutil.move(f"{path}{side}", away / f"attest.db{side}")
    with pytest.raises(AuditUnavailableError, match="FileNotFoundError"):
        await sequencer.step()
    assert not path.exists()
    shutil.copy(copy, path)
    with pytest.raises(TreeRefusedError, match="a tree of 5 records was signed, but the database has 3"):
        await sequencer.step()
    await engine.dispose()
    for side in ("", "-wal", "-shm"):
        (tmp_path / f"attest.db{side}").unlink(missing_ok=True)
        if (away / f"attest.db{side}").exists():
            shutil.move(away / f"attest.db{side}", f"{path}{side}")
    async with opened(database) as log:
        await add(log, 1, "v")
    assert await sequencer.step() == 1
    assert sequencer.status.tree_size == 6
    await engine.dispose()


async def test_a_database_that_is_gone_is_an_error_and_the_next_step_goes_on(tmp_path, keys):
    engine = make_engine("postgresql+asyncpg://attest@127.0.0.1:1/none")
    faults: list[Exception] = []
    sequencer = Sequencer(engine, keys, SMALL, faults.append)
    with pytest.raises(AuditUnavailableError):
        await sequencer.step()
    await sequencer.start()
    await asyncio.sleep(0.2)
    await sequencer.close()
    assert 2 <= len(faults) < 12
    assert {type(fault) for fault in faults} == {AuditUnavailableError}
    await engine.dispose()
