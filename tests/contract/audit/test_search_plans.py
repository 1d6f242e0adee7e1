"""No search reads a table whole, whatever the planner makes of it: filters walk an index, turns are found by key."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import FileMasterKey
from audit.search.query import Order, TurnQuery
from audit.search.sql import SqlTurnSearch
from gateway.database import make_engine

TURNS = 30_000
"""So many that walks pay, and so few that PostgreSQL would rather read the tables than look up thousands of turns."""
NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)"
PLACE = "CAST(n AS BIGINT) * 60000000, 'turn-' || (1000000 + n)"
FACETS = (
    ("group", "'staff'"), ("role", "'staff'"), ("category", "'category-' || (n % 8)"), ("rule", "'rule-' || (n % 40)"),
    ("model", "CASE WHEN n % 3 = 0 THEN 'small' ELSE 'large' END"),
)  # fmt: skip
FILL = (
    f"""INSERT INTO audit_turn (opened_us, turn_id, subject, conversation_id, verdict, opened_entry, closed_entry,
    writer_id) {NUMBERS} SELECT {PLACE}, 'person-' || (n % 500), 'talk-' || (n / 5),
    CASE WHEN n % 30 = 0 THEN 'block' ELSE 'allow' END, 'opened', 'closed', 'writer' FROM numbers""",
    *(
        f"""INSERT INTO audit_facet (facet, value, opened_us, turn_id) {NUMBERS}
        SELECT '{facet}', {value}, {PLACE} FROM numbers"""
        for facet, value in FACETS
    ),
)
SCANS = ("Seq Scan on", "Parallel Seq Scan on", "SCAN")
WHOLE = tuple(f"{scan} audit_{table}" for scan in SCANS for table in ("turn", "facet"))
LATER = datetime(1970, 1, 15, tzinfo=UTC)
QUERIES = tuple(
    TurnQuery(**asked)
    for asked in (
        {}, {"subject": "person-17"}, {"conversation_id": "talk-12"}, {"verdict": "block"}, {"group": "staff"},
        {"category": "category-3"}, {"rule": "rule-5"}, {"group": "staff", "order": Order.OLDEST}, {"since": LATER},
        {"verdict": "block", "category": "category-6"}, {"group": "staff", "model": "large"},
    )
)  # fmt: skip


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """A database with many turns, analysed as PostgreSQL does by itself."""
    engine = make_engine(database)
    try:
        async with engine.begin() as connection:
            for statement in FILL:
                await connection.execute(text(statement), {"last": TURNS - 1})
            if engine.dialect.name == "postgresql":
                await connection.execute(text("ANALYZE"))
        yield engine
    finally:
        await engine.dispose()


async def test_no_search_reads_a_table_whole(engine: AsyncEngine) -> None:
    search, asked = SqlTurnSearch(engine, FileMasterKey(bytes(32))), list[tuple[str, Any]]()
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    for query in QUERIES:
        first = await search.page(query, None, 50)
        if first.reached is not None:
            await search.page(query, first.reached, 50)
        assert (await search.counts(query, 86_400)).turns, query
    plans = [(statement, await _plan(engine, statement, parameters)) for statement, parameters in tuple(asked)]
    assert len(plans) > 3 * len(QUERIES)
    for statement, plan in plans:
        assert not [line for line in plan if _reads_whole(line)], (statement, plan)


async def _plan(engine: AsyncEngine, statement: str, parameters: Any) -> list[str]:
    how = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"{how} {statement}", parameters)
        return [str(row[-1]).strip() for row in rows.all()]


def _reads_whole(line: str) -> bool:
    """Whether a line of a plan says so; all turns in order of time are a walk that ends where the page does."""
    whole = line.removeprefix("->").strip().startswith(WHOLE)
    return whole and "audit_turn_by_time" not in line
