from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from gateway.database import make_engine
from gateway.history.store import HistoryStore
from migrations.run import upgrade
from tests.rig.postgres import fresh_database, postgres_url


class Clock:
    """Each look at it is one second later."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    with postgres_url() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database on the newest schema; every test runs on both."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
        upgrade(url, "0003_history")
        yield url
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        upgrade(url, "0003_history")
        yield url


@pytest.fixture
async def history(database: str) -> AsyncIterator[HistoryStore]:
    engine = make_engine(database)
    yield HistoryStore(engine, Clock())
    await engine.dispose()
