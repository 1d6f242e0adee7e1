"""What is acknowledged is on the disk: the writer's own connection says so, whatever the database's default is."""

import pytest

from audit.log import SqlAuditLog
from audit.writers.sqlite import SqliteWriter
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted

FULL = 2


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What SQLite's writer says of `PRAGMA synchronous` after each commit, in its own thread."""
    said: list[int] = []
    check = SqliteWriter._check_still_there

    def ask(writer: SqliteWriter) -> None:
        said.append(writer._connection.execute("PRAGMA synchronous").fetchone()[0])
        check(writer)

    monkeypatch.setattr(SqliteWriter, "_check_still_there", ask)
    return said


async def commits(log: SqlAuditLog) -> str:
    """Ask PostgreSQL's writer how it commits."""
    return await log._writer._connection.fetchval("SHOW synchronous_commit")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_sqlite_waits_for_the_disk_with_each_commit(database, asked):
    async with opened(database) as log:
        await log.append(accepted("t1"))
        log._writer._connection = None  # as after an error: the next commit opens another
        await log.append(accepted("t2"))
    assert asked == [FULL, FULL]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("default", "wanted"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
async def test_postgresql_waits_for_the_disk_though_the_database_would_not(raw, database, default, wanted):
    ((name,),) = await raw.run("SELECT current_database()")
    await raw.run(f'ALTER DATABASE "{name}" SET synchronous_commit = {default}')
    assert await raw.run("SHOW synchronous_commit") == [(default,)]
    async with opened(database) as log:
        await log.append(accepted("t1"))
        assert await commits(log) == wanted
        await log._writer._disconnect()
        await log.append(accepted("t2"))
        assert await commits(log) == wanted
