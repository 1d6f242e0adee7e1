from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from litestar.testing import AsyncTestClient

from tests.unit.web.scripted import MemoryAudit, ScriptedTurns, make_app


@pytest.fixture
def turns() -> ScriptedTurns:
    return ScriptedTurns()


@pytest.fixture
def audit() -> MemoryAudit:
    return MemoryAudit()


@pytest.fixture
async def page(tmp_path: Path, turns: ScriptedTurns, audit: MemoryAudit) -> AsyncIterator[AsyncTestClient]:
    async with AsyncTestClient(make_app(tmp_path, turns, audit, message_limit_chars=100)) as client:
        yield client


@pytest.fixture
def conversation(page: AsyncTestClient) -> Callable:
    async def make(**headers: str) -> str:
        answer = await page.post("/chat/conversations", headers=headers)
        assert answer.status_code == 201
        return answer.json()["id"]

    return make
