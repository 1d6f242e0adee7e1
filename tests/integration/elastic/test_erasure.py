"""An erased person's texts leave Elasticsearch, by an identity that can only do that; everybody else's stay."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from audit.elastic.client import Server, connect
from audit.elastic.eraser import ElasticsearchEraser
from audit.elastic.roles import ERASER, VERIFIER, WRITER
from audit.erasure import SETTLED_US, Erasures, State
from audit.governing import Governor, now_us
from audit.ledger import ErasureLedger
from audit.ports import AuditUnavailableError
from tests.contract.audit.turns import accepted, completed
from tests.integration.elastic.conftest import Line, closing, identity


def eraser_as(line: Line, role: str, url: str = "") -> ElasticsearchEraser:
    return ElasticsearchEraser(connect(Server((url or line.server.url,)), identity(line.server, role), 10))


@pytest.fixture
async def eraser(line: Line) -> AsyncIterator[ElasticsearchEraser]:
    async with closing(eraser_as(line, ERASER)) as made:
        yield made


def texts_of(line: Line) -> list[str]:
    return sorted(hit["_source"]["user"]["id"] for hit in line.server.documents("attest-content-*"))


async def test_the_texts_go_and_the_rest_stays(line: Line, eraser: ElasticsearchEraser, tmp_path):
    for turn, subject in (("t1", "alice"), ("t2", "bob")):
        await line.append(accepted(turn, subject=subject), completed("Fine.", turn, subject=subject))
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
    assert texts_of(line) == ["alice", "alice", "bob", "bob"]
    assert await eraser.erase("nobody", now_us()) == 0
    assert await eraser.erase("alice", 1) == 0
    erasures = Erasures(Governor(line.engine), ErasureLedger(tmp_path / "ledger"), (), eraser)
    asked = await erasures.request("alice", "GDPR-4", "cli:carol")
    assert (await erasures.carry_out(asked.erasure_id)).state == State.DESTROYED
    assert texts_of(line) == ["bob", "bob"]
    async with line.engine.begin() as connection:
        await connection.execute(text(f"UPDATE erasure SET done_us = done_us - {SETTLED_US}"))
    assert [one.state for one in await erasures.carry_out_pending()] == [State.DONE]
    await line.append(accepted("t3", subject="alice"))  # goes on under a new key
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
    assert texts_of(line) == ["alice", "bob", "bob"]
    assert len(line.server.documents("attest-audit-*")) == 6


@pytest.mark.parametrize("role", [WRITER, VERIFIER])
async def test_no_other_identity_can_do_it(line: Line, role: str):
    await line.append(accepted("t1", subject="alice"))
    async with closing(line.delivery()) as delivery:
        await delivery.drain()
    async with closing(eraser_as(line, role)) as another:
        with pytest.raises(AuditUnavailableError, match="403"):
            await another.erase("alice", now_us())
    assert texts_of(line) == ["alice"]


async def test_a_store_that_is_gone_is_an_error(line: Line):
    async with closing(eraser_as(line, ERASER, "http://127.0.0.1:1")) as gone:
        with pytest.raises(AuditUnavailableError, match="did not delete"):
            await gone.erase("alice", now_us())
