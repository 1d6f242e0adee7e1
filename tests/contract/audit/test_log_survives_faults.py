"""The database locked, full, gone and back: whoever waits gets an error, and afterwards the log goes on by itself."""

import asyncio
import contextlib
import shutil
import sqlite3
import time
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from audit.log import LogLimits
from audit.ports import AuditUnavailableError, TurnFilter
from audit.writers import sqlite as writer
from migrations.run import upgrade
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted, completed, released
from tests.rig.postgres import own_postgres

SHORT = LogLimits(lock_wait_s=0.3, probe_s=2.0, probe_kept_s=0.0)


@asynccontextmanager
async def locked(database: str):
    """Hold the lock that an append needs."""
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(url.database), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.close()
        return
    server = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    transaction = server.transaction()
    await transaction.start()
    await server.execute("LOCK TABLE audit_entry, audit_writer IN ACCESS EXCLUSIVE MODE")
    yield
    await transaction.rollback()
    await server.close()


async def test_a_locked_database_is_an_error_and_then_works_again(database):
    async with opened(database, SHORT) as log:
        await log.append(accepted("before"))
        assert await log.ready()
        async with locked(database):
            began = time.monotonic()
            with pytest.raises(AuditUnavailableError):
                await log.append(accepted("during"))
            assert time.monotonic() - began < 5
            assert not await log.ready()
        await log.append(accepted("after"))
        assert await log.ready()
        assert {turn.turn_id for turn in await log.turns(TurnFilter())} == {"before", "after"}


async def test_a_short_lock_only_delays(database):
    async with opened(database, LogLimits(lock_wait_s=10)) as log:
        async with locked(database):
            appending = asyncio.create_task(log.append(accepted()))
            await asyncio.sleep(0.2)
            assert not appending.done()
        assert len(await appending) == 1


async def test_a_database_without_tables_names_the_remedy(tmp_path):
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(AuditUnavailableError, match="attest migrate"):
        async with opened(f"sqlite+aiosqlite:///{tmp_path}/empty.db"):
            pytest.fail("it started")


async def test_a_missing_sqlite_file_is_not_made_anew(tmp_path):
    with pytest.raises(AuditUnavailableError, match="SQLITE_CANTOPEN"):
        async with opened(f"sqlite+aiosqlite:///{tmp_path}/none.db"):
            pytest.fail("it started")
    assert not (tmp_path / "none.db").exists()


async def test_a_full_disk_is_an_error_and_then_works_again(tmp_path, monkeypatch):
    database = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
    await asyncio.to_thread(upgrade, database)
    with contextlib.closing(sqlite3.connect(tmp_path / "attest.db")) as file:
        pages = file.execute("PRAGMA page_count").fetchone()[0]
    limited = (*writer._PRAGMAS, f"PRAGMA max_page_count={pages + 30}")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_PRAGMAS", limited)
        async with opened(database, SHORT) as log:
            acknowledged: list[str] = []
            with pytest.raises(AuditUnavailableError, match="SQLITE_FULL"):
                await fill(log, acknowledged)
            assert not await log.ready()
            patch.undo()  # room was made; the log must notice by itself
            await log.append(accepted("after", message="y" * 20_000))
            assert await log.ready()
            assert {turn.turn_id for turn in await log.turns(TurnFilter())} == {*acknowledged, "after"}
            assert acknowledged


async def test_a_small_file_system_that_fills_up(small):
    async with opened(small.database, SHORT) as log:
        acknowledged: list[str] = []
        with pytest.raises(AuditUnavailableError):
            await fill(log, acknowledged)
        with pytest.raises(AuditUnavailableError):
            await fill(log, acknowledged, prefix="u")
        assert acknowledged
        assert not await log.ready()
        small.make_room()
        assert await log.ready()  # nothing needs to be tried on a turn
        assert {turn.turn_id for turn in await log.turns(TurnFilter(limit=10_000))} == {*acknowledged}
        await log.append(accepted("after"))
        listed = {turn.turn_id for turn in await log.turns(TurnFilter(limit=10_000))}
        assert listed == {*acknowledged, "after"}


async def fill(log, acknowledged: list[str], prefix: str = "t") -> None:
    for number in range(10_000):
        await log.append(accepted(f"{prefix}{number}", message="x" * 20_000))
        acknowledged.append(f"{prefix}{number}")


async def test_a_sqlite_file_that_is_moved_away_takes_no_records(tmp_path):
    path, away = tmp_path / "attest.db", tmp_path / "away"
    database = f"sqlite+aiosqlite:///{path}"
    await asyncio.to_thread(upgrade, database)
    async with opened(database, SHORT) as log:
        await log.append(accepted("before"))
        away.mkdir()
        for side in ("", "-wal", "-shm"):
            shutil.move(f"{path}{side}", away / f"attest.db{side}")
        for _ in range(3):
            with pytest.raises(AuditUnavailableError):
                await log.append(accepted("during"))
        assert not await log.ready()
        assert not path.exists()
        for side in ("", "-wal", "-shm"):
            if (away / f"attest.db{side}").exists():
                shutil.move(away / f"attest.db{side}", f"{path}{side}")
        await log.append(accepted("after"))
        assert await log.ready()
    async with opened(database) as log:
        assert await log.turn("after") is not None
        assert await log.turn("before") is not None


@pytest.fixture
def own_server():
    with own_postgres() as server:
        yield server


async def test_postgresql_stopped_and_started_again(own_server):
    database = own_server.url.render_as_string(hide_password=False)
    await asyncio.to_thread(upgrade, database)
    async with opened(database, SHORT) as log, opened(database, SHORT) as other:
        await log.append(accepted("before"))
        await asyncio.to_thread(own_server.stop)
        results = await asyncio.gather(*(log.append(accepted(f"d{n}")) for n in range(50)), return_exceptions=True)
        assert all(isinstance(one, AuditUnavailableError) for one in results)
        assert not await log.ready()
        with pytest.raises(AuditUnavailableError):
            await log.turns(TurnFilter())
        await asyncio.to_thread(own_server.start)
        await log.append(accepted("after"))
        assert await log.ready()
        assert {turn.turn_id for turn in await log.turns(TurnFilter())} == {"before", "after"}
        assert await other.recover() == 0  # the first log took its place again


async def test_turns_that_run_while_postgresql_is_started_again_are_left_alone(own_server):
    database = own_server.url.render_as_string(hide_password=False)
    await asyncio.to_thread(upgrade, database)
    async with opened(database) as log, opened(database) as other:
        await log.append(accepted("t1"), released("First. ", 0, "t1"))
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
        assert await other.recover() == 0  # at once, before the first log has anything to write
        assert await other.recover() == 0
        await log.append(released("Second.", 7, "t1"), completed("First. Second.", "t1"))
        assert (await other.turn("t1")).closing_kind == "turn.completed"


async def test_a_writer_without_its_place_is_given_up_at_the_second_look(own_server, monkeypatch):
    monkeypatch.setattr("audit.writers.postgres._KEEP_S", 3600.0)  # as if it could not reach the server
    database = own_server.url.render_as_string(hide_password=False)
    await asyncio.to_thread(upgrade, database)
    async with opened(database) as log, opened(database) as other:
        assert await other.recover() == 0
        await log.append(accepted("t1"))
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
        await other.append(accepted("t2"))
        assert await other.recover() == 0
        assert await other.recover() == 1
        assert (await other.turn("t1")).closing_kind == "turn.interrupted"
