"""A log on either database, a sequencer, a real Elasticsearch that was prepared, and a delivery worker between them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.delivery import Delivery, DeliveryLimits
from audit.elastic.bootstrap import Bootstrap, Step
from audit.elastic.client import Identity, Server, connect
from audit.elastic.families import month_of
from audit.elastic.roles import BOOTSTRAP, WRITER
from audit.keys import FileMasterKey
from audit.log import SqlAuditLog
from audit.outbox import Outbox, OutboxState
from audit.sequencer import Sequencer
from audit.signing import SigningKeys
from audit.sinks.elasticsearch import ElasticsearchSink
from gateway.database import make_engine
from tests.rig.databases import migrated
from tests.rig.elasticsearch import ElasticsearchServer

MASTER = FileMasterKey(b"delivery-tests-master-key-32byte")
FAST = DeliveryLimits(first_wait_s=0.05, longest_wait_s=0.4, idle_s=0.05, sample_s=0.2)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with migrated(request, request.param, tmp_path) as url:
        yield url


@dataclass
class Watch:
    """Remembers what it was told."""

    counts: dict[str, int] = field(default_factory=dict)
    delays: dict[str, int] = field(default_factory=dict)
    interruptions: list[str] = field(default_factory=list)
    states: list[OutboxState] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def delivered(self, fate: str, count: int) -> None:
        self.counts[fate] = self.counts.get(fate, 0) + count

    def delayed(self, reason: str, count: int) -> None:
        self.delays[reason] = self.delays.get(reason, 0) + count

    def interrupted(self, reason: str) -> None:
        self.interruptions.append(reason)

    def sampled(self, state: OutboxState) -> None:
        self.states.append(state)

    def fault(self, where: str, error: BaseException) -> None:  # noqa: ARG002 - as called
        self.faults.append(error)


@dataclass
class Line:
    """Everything between an entry and a document."""

    engine: AsyncEngine
    log: SqlAuditLog
    sequencer: Sequencer
    outbox: Outbox
    watch: Watch
    server: ElasticsearchServer
    keys: SigningKeys

    def delivery(self, url: str = "", limits: DeliveryLimits = FAST, role: str = WRITER) -> Delivery:
        """A worker that speaks to the server, or through the proxy at `url`."""
        client = connect(Server((url or self.server.url,)), identity(self.server, role), 10)
        return Delivery(self.engine, MASTER, ElasticsearchSink(client), self.watch, limits)

    async def append(self, *entries) -> None:
        await self.log.append(*entries)
        while await self.sequencer.step():
            pass


def identity(server: ElasticsearchServer, role: str) -> Identity:
    return Identity.read(server.login(role), "ATTEST_ELASTICSEARCH_WRITER")


async def prepare(
    server: ElasticsearchServer, *months: datetime, role: str = BOOTSTRAP, url: str = "", keep_days: int = 215
) -> tuple[Step, ...]:
    client = connect(Server((url or server.url,)), identity(server, role), 30)
    try:
        return await Bootstrap(client, keep_days).prepare(months or (datetime.now(UTC),))
    finally:
        await client.close()


@asynccontextmanager
async def line_on(database: str, server: ElasticsearchServer, folder: Path) -> AsyncIterator[Line]:
    engine = make_engine(database)
    keys = SigningKeys(folder / "signing", "attest/test")
    keys.load_or_create()
    try:
        async with SqlAuditLog(engine, MASTER) as log:
            yield Line(engine, log, Sequencer(engine, keys), Outbox(engine), Watch(), server, keys)
    finally:
        await engine.dispose()


@pytest.fixture
async def line(database: str, elastic_server: ElasticsearchServer, tmp_path: Path) -> AsyncIterator[Line]:
    elastic_server.clear()
    await prepare(elastic_server)
    async with line_on(database, elastic_server, tmp_path) as line:
        yield line


@asynccontextmanager
async def closing(delivery: Delivery) -> AsyncIterator[Delivery]:
    try:
        yield delivery
    finally:
        await delivery.close()


def this_month() -> str:
    return month_of(datetime.now(UTC))


@pytest.fixture
def prepared_server(elastic_server: ElasticsearchServer) -> ElasticsearchServer:
    """The shared server with the indices of a month long ago."""
    asyncio.run(prepare(elastic_server, datetime(2000, 1, 1, tzinfo=UTC)))
    return elastic_server
