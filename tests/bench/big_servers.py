"""The large log on PostgreSQL and in Elasticsearch: what `big_log` made on SQLite, carried over."""

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Boolean, Table
from sqlalchemy.engine import make_url

from audit.delivery import Delivery, DeliveryLimits
from audit.elastic.client import Identity, Server, connect
from audit.elastic.roles import WRITER
from audit.keys import FileMasterKey
from audit.sinks.elasticsearch import ElasticsearchSink
from audit.tables import AUDIT_CHECKPOINT, AUDIT_CONTENT, AUDIT_ENTRY, AUDIT_FACET, AUDIT_TILE, AUDIT_TURN, SUBJECT_KEY
from gateway.database import make_engine
from tests.integration.elastic.conftest import Watch, prepare
from tests.rig.elasticsearch import ElasticsearchServer

CARRIED = (SUBJECT_KEY, AUDIT_ENTRY, AUDIT_CONTENT, AUDIT_TURN, AUDIT_FACET, AUDIT_TILE, AUDIT_CHECKPOINT)
AT_ONCE = 20_000


async def to_postgres(database: Path, url: str) -> None:
    """Copy every table that readers look into, into a database on the newest schema."""
    there = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        for table in CARRIED:
            names = [column.name for column in table.columns]
            for rows in _rows(database, table):
                await there.copy_records_to_table(table.name, records=rows, columns=names)
        # As a gateway that has run all along: else one that starts now looks through it all for turns to review.
        done = "INSERT INTO review_progress SELECT 'turns', count(*) FROM audit_entry"
        await there.execute(done)
        await there.execute("VACUUM ANALYZE")  # as the server does by itself, some time after so many rows
    finally:
        await there.close()


def _rows(database: Path, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    flags = [isinstance(column.type, Boolean) for column in table.columns]
    connection = sqlite3.connect(database)
    names = ", ".join(column.name for column in table.columns)
    found = connection.execute(f"SELECT {names} FROM {table.name}")
    while rows := found.fetchmany(AT_ONCE):
        yield [tuple(bool(v) if flag else v for v, flag in zip(row, flags, strict=True)) for row in rows]
    connection.close()


async def to_elasticsearch(database: Path, master: FileMasterKey, server: ElasticsearchServer, first: datetime,
                           last: datetime) -> int:  # fmt: skip
    """Deliver what waits in the outbox, as the gateway does; return how many records."""
    await prepare(server, *(first + timedelta(days=28 * n) for n in range((last - first).days // 28 + 1)), last)
    engine = make_engine(f"sqlite+aiosqlite:///{database}")
    client = connect(Server((server.url,)), Identity.read(server.login(WRITER), ""))
    delivery = Delivery(engine, master, ElasticsearchSink(client), Watch(), DeliveryLimits())
    try:
        moved = await delivery.drain()
        state = await delivery.sample()
        assert not state.pending + state.dead_letters, state
    finally:
        await delivery.close()
        await engine.dispose()
    server.call("POST", "/attest-*/_refresh")
    return moved
