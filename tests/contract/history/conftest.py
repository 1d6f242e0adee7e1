from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gateway.database import make_engine
from gateway.history.store import HistoryStore


class Clock:
    """Each look at it is one second later."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
async def history(database: str) -> AsyncIterator[HistoryStore]:
    engine = make_engine(database)
    yield HistoryStore(engine, Clock())
    await engine.dispose()
