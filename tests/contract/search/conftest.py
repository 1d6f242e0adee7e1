"""Every store of a search, filled with the same turns: both databases, and Elasticsearch filled by delivery."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from audit.elastic.client import Server, connect
from audit.elastic.roles import COMPLIANCE
from audit.log import SqlAuditLog
from audit.search.elasticsearch import ElasticTurnSearch
from audit.search.ports import TurnSearch
from audit.search.sql import SqlTurnSearch
from gateway.database import make_engine
from tests.contract.audit.conftest import Raw
from tests.contract.search.turns import START, turns
from tests.integration.elastic.conftest import MASTER, Line, closing, identity, line_on, prepare
from tests.rig.databases import migrated
from tests.rig.elasticsearch import ElasticsearchServer


@pytest.fixture(params=["sqlite", "postgresql", "elasticsearch"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with migrated(request, "postgresql" if store == "postgresql" else "sqlite", tmp_path) as url:
        yield url


@pytest.fixture
async def line(store: str, database: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Line]:
    """A log that holds `turns()`; delivered where Elasticsearch is the store."""
    server: ElasticsearchServer = ElasticsearchServer("")
    if store == "elasticsearch":
        server = request.getfixturevalue("elastic_server")
        server.clear()
        await prepare(server, START)
    async with line_on(database, server, tmp_path) as line:
        for turn in turns():
            for one in turn:
                await line.log.append(one)
        if store == "elasticsearch":
            await line.append()
            async with closing(line.delivery()) as delivery:
                await delivery.drain()
            server.call("POST", "/attest-*/_refresh")
        yield line


@pytest.fixture
def log(line: Line) -> SqlAuditLog:
    return line.log


@pytest.fixture
async def search(store: str, database: str, line: Line) -> AsyncIterator[TurnSearch]:
    """A store that holds `turns()`."""
    if store == "elasticsearch":
        client = connect(Server((line.server.url,)), identity(line.server, COMPLIANCE), 30)
        try:
            yield ElasticTurnSearch(client)
        finally:
            await client.close()
        return
    engine = make_engine(database)
    try:
        yield SqlTurnSearch(engine, MASTER)
    finally:
        await engine.dispose()


@pytest.fixture
def raw(database: str) -> Raw:
    return Raw(database)
