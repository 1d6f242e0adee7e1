"""Every step goes up and down, on both databases, whoever runs it and how often."""

import asyncio
import itertools
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

from audit.tables import METADATA
from gateway.database import make_engine
from migrations import run

ROOT = Path(__file__).parents[3]
STEPS = [step.revision for step in ScriptDirectory(str(ROOT / "migrations")).walk_revisions()][::-1]


def inspected(database: str, look):
    async def ask():
        engine = create_async_engine(database)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(look)
        finally:
            await engine.dispose()

    return asyncio.run(ask())


def shape(connection) -> dict[str, object]:
    inspector = inspect(connection)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)],
            sorted((index["name"], tuple(index["column_names"])) for index in inspector.get_indexes(table)),
        )
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def test_the_steps_are_one_line_from_the_audit_log_on():
    assert STEPS[0] == "0001_audit"
    assert STEPS[-1] == run.head()
    assert sorted(STEPS) == STEPS


def test_every_step_goes_up_and_down_and_up_again(empty_database):
    shapes = [inspected_after(run.upgrade, empty_database, step) for step in STEPS]
    assert all(later != earlier for earlier, later in itertools.pairwise(shapes))
    for step, expected in zip(STEPS[-2::-1], shapes[-2::-1], strict=True):
        assert inspected_after(run.downgrade, empty_database, step) == expected
    assert run.downgrade(empty_database, "base") == ""
    assert inspected(empty_database, shape) == {}
    assert run.upgrade(empty_database) == run.head()
    assert inspected(empty_database, shape) == shapes[-1]


def inspected_after(move, database: str, step: str) -> dict[str, object]:
    assert move(database, step) == step
    assert run.current(database) == step
    return inspected(database, shape)


def test_a_second_run_changes_nothing(empty_database):
    run.upgrade(empty_database)
    before = inspected(empty_database, shape)
    assert run.upgrade(empty_database) == run.head()
    assert inspected(empty_database, shape) == before


def test_processes_that_start_at_once_do_not_collide(empty_database):
    command = [sys.executable, "-c", f"from migrations.run import upgrade; print(upgrade({empty_database!r}))"]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate(timeout=120)[0].decode().strip() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert outputs == [run.head()] * 4
    assert "audit_entry" in inspected(empty_database, shape)


def test_the_tables_in_the_code_are_those_of_the_steps(empty_database):
    run.upgrade(empty_database)

    def ours(_, name, kind, *__) -> bool:
        return kind != "table" or name in METADATA.tables

    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection, opts={"include_object": ours}), METADATA)

    assert inspected(empty_database, differences) == []


def test_a_step_that_fails_leaves_nothing_behind(empty_database):
    with pytest.raises(Exception, match="no-such-step"):
        run.upgrade(empty_database, "no-such-step")
    assert inspected(empty_database, shape) == {}
    assert run.upgrade(empty_database) == run.head()


def test_a_database_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(run.MigrationError, match="cannot be migrated"):
        run.upgrade("postgresql+asyncpg://attest@127.0.0.1:1/none")
    (tmp_path / "file").write_text("")
    with pytest.raises(run.MigrationError):
        run.upgrade(f"sqlite+aiosqlite:///{tmp_path}/file/attest.db")
    with pytest.raises((run.MigrationError, ArgumentError)):
        run.upgrade("nonsense")


@pytest.mark.parametrize("option", ["Zk4Qm9v=1", "timeout=Zk4Qm9v", "command_timeout=Zk4Qm9v"])
def test_an_option_that_the_driver_does_not_know_is_one_clear_error_that_quotes_nothing(option):
    with pytest.raises(run.MigrationError, match="ATTEST_DATABASE_URL") as caught:
        run.upgrade(f"postgresql+asyncpg://attest@127.0.0.1:1/none?{option}")
    assert "Zk4Qm9v" not in str(caught.value)


def test_the_sqlite_file_is_for_its_owner_alone(tmp_path):
    run.upgrade(f"sqlite+aiosqlite:///{tmp_path}/attest.db")
    assert stat.S_IMODE((tmp_path / "attest.db").stat().st_mode) == 0o600


async def test_transactions_that_read_first_may_write_later(tmp_path):
    """What fails on SQLite with a plain BEGIN: another one wrote in between."""
    database = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
    await asyncio.to_thread(run.upgrade, database)
    engine = make_engine(database)
    statement = "UPDATE audit_writer SET seen_us = seen_us + 1"
    async with engine.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO audit_writer VALUES ('w', 0, 0, NULL)")

    async def add():
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT seen_us FROM audit_writer")
            await asyncio.sleep(0)
            await connection.exec_driver_sql(statement)

    await asyncio.gather(*(add() for _ in range(40)))
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT seen_us FROM audit_writer")).scalar() == 40
        for pragma, expected in (
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("journal_mode", "wal"),
            ("busy_timeout", 5000),
        ):
            assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == expected
    await engine.dispose()
