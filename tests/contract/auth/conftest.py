from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import make_engine
from tests.contract.auth.endings import Rig


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    made = make_engine(database)
    yield made
    await made.dispose()


@pytest.fixture
def rig(engine: AsyncEngine) -> Rig:
    return Rig(engine)
