from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.database import make_engine
from gateway.history.store import HistoryStore
from gateway.history.tables import metadata


class Clock:
    """Each look at it is one second later."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[HistoryStore]:
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path}/history.db")
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    yield HistoryStore(engine, Clock())
    await engine.dispose()
