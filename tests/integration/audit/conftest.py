import asyncio
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from audit.keys import FileMasterKey
from audit.log import SqlAuditLog
from audit.record import Entry
from gateway.cli import main
from gateway.database import make_engine
from tests.rig.postgres import fresh_database


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path) -> Iterator[str]:
    """URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/new/attest.db"
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def attest(empty_database, tmp_path, monkeypatch):
    """Call `attest` on an empty, migrated database."""
    monkeypatch.setenv("ATTEST_DATABASE_URL", empty_database)
    monkeypatch.setenv("ATTEST_DATA_DIR", str(tmp_path))

    def call(*words: str, code: int = 0):
        result = CliRunner().invoke(main, list(words))
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout

    FileMasterKey.load_or_create(tmp_path / "master.key")
    call("migrate")
    return call


@pytest.fixture
def append(empty_database, tmp_path):
    def append(*entries: Entry) -> None:
        async def work():
            engine = make_engine(empty_database)
            async with SqlAuditLog(engine, FileMasterKey.load(tmp_path / "master.key")) as log:
                await log.append(*entries)
            await engine.dispose()

        asyncio.run(work())

    return append
