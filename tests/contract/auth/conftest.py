from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import make_engine
from migrations.run import upgrade
from tests.rig.postgres import fresh_database, postgres_url


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    with postgres_url() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty, migrated database; every contract test runs on both."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
        upgrade(url, "0002_sessions")
        yield url
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        upgrade(url, "0002_sessions")
        yield url


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    made = make_engine(database)
    yield made
    await made.dispose()
