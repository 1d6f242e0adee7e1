"""Every store of a search, filled with the same turns."""

from collections.abc import AsyncIterator

import pytest

from audit.log import SqlAuditLog
from audit.search.ports import TurnSearch
from audit.search.sql import SqlTurnSearch
from gateway.database import make_engine
from tests.contract.audit.conftest import MASTER, Raw
from tests.contract.search.turns import turns


@pytest.fixture
async def log(database: str) -> AsyncIterator[SqlAuditLog]:
    engine = make_engine(database)
    try:
        async with SqlAuditLog(engine, MASTER) as log:
            yield log
    finally:
        await engine.dispose()


@pytest.fixture
async def search(database: str, log: SqlAuditLog) -> AsyncIterator[TurnSearch]:
    """A store that holds `turns()`."""
    for turn in turns():
        for one in turn:
            await log.append(one)
    engine = make_engine(database)
    try:
        yield SqlTurnSearch(engine, MASTER)
    finally:
        await engine.dispose()


@pytest.fixture
def raw(database: str) -> Raw:
    return Raw(database)
