"""`python -m tests.bench.audit_search`: how long a page of a search takes, among 10,000 and 1,000,000 turns.

On SQLite, then on a real PostgreSQL with the same rows. They are made in bulk, past the writer; leaves are real, hashes
too. `--turns` changes the sizes, `--keep FOLDER` keeps the files of SQLite for the next run. Prints one JSON object a
size and database, and writes its part of docs/benchmarks.md.
"""

import argparse
import asyncio
import itertools
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from audit.canonical import leaf_hash, leaf_of
from audit.facets import facets_of
from audit.keys import FileMasterKey
from audit.record import Entry, FindingRecord, Kind, StageRecord
from audit.rows import microseconds
from audit.search.ports import TurnSearch
from audit.search.query import Order, TurnQuery
from audit.search.sql import SqlTurnSearch
from gateway.database import make_engine
from migrations.run import upgrade
from tests.bench import report
from tests.bench.big_servers import to_postgres
from tests.bench.load import percentile, say
from tests.rig.postgres import fresh_database, postgres_url

PAGE = 50
ROUNDS = 5
DATABASES = SQLITE, POSTGRESQL = ("SQLite", "PostgreSQL")
END = datetime(2026, 11, 20, tzinfo=UTC)
SPAN = timedelta(days=180)
STAGES = tuple(
    StageRecord(f"input.{name}", "ran", 64, 0.2) for name in ("personal_data", "secrets", "prompt_attack", "classifier")
)
CATEGORIES = ("hate", "violence", "self_harm", "sexual", "prompt_attack", "personal_data", "secret", "company")
VERDICTS = ("allow",) * 90 + ("redact",) * 6 + ("block",) * 3 + ("flag",)
FILTERS: tuple[dict[str, Any], ...] = (
    {"subject": "person-17"},
    {"group": "staff"},
    {"group": "team-3"},
    {"role": "staff"},
    {"conversation_id": "conversation-123"},
    {"verdict": "allow"},
    {"verdict": "block"},
    {"category": "violence"},
    {"rule": "rule-5"},
    {"model": "large"},
    {"since": END - timedelta(days=3)},
    {"since": END - timedelta(days=100), "until": END - timedelta(days=90)},
)
"""Every filter alone; each two of them are combined, too."""


def entries(turns: int, dice: random.Random) -> Iterator[tuple[Entry, Entry]]:
    """Yield the opening and closing record of each turn."""
    for at in range(turns):
        opened = END - SPAN + SPAN * at / turns
        turn_id = f"01a00000-0000-7000-8000-{at:012x}"
        person = dice.randrange(500)
        verdict = dice.choice(VERDICTS)
        findings: tuple[FindingRecord, ...] = ()
        if dice.random() < 0.3:
            category = dice.choice(CATEGORIES)
            rule = f"rule-{dice.randrange(40)}"
            findings = (FindingRecord("classifier", rule, category, 0, 9, 0.3, 0.5, "allow", "allow", "message"),)
        common: dict[str, Any] = {
            "subject": f"person-{person}",
            "turn_id": turn_id,
            "conversation_id": f"conversation-{at // 5}",
            "name": f"Person {person}",
            "groups": ("staff", f"team-{person % 40}"),
            "roles": ("staff",),
            "surface": "page.stream",
            "model": "large" if person % 3 else "small",
            "policy_hash": "ab" * 32,
            "stages": STAGES,
        }
        yield (
            Entry(kind=Kind.TURN_ACCEPTED, at=opened, verdict="allow", findings=findings, **common),
            Entry(kind=Kind.TURN_COMPLETED, at=opened + timedelta(seconds=3), verdict=verdict, length=300, **common),
        )


def fill(path: Path, turns: int) -> None:
    """Make a database of so many turns."""
    upgrade(f"sqlite+aiosqlite:///{path}")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous=OFF")
    made = entries(turns, random.Random(7))
    for start in range(0, turns, 5000):
        rows: dict[str, list[tuple[Any, ...]]] = {"entry": [], "turn": [], "facet": []}
        for at, pair in enumerate(itertools.islice(made, 5000), start):
            _rows(rows, at, pair)
        with connection:
            connection.executemany("INSERT INTO audit_entry VALUES (?,?,?,?,?,?,?,?)", rows["entry"])
            connection.executemany("INSERT INTO audit_turn VALUES (?,?,?,?,?,?,?,?)", rows["turn"])
            connection.executemany("INSERT INTO audit_facet VALUES (?,?,?,?)", rows["facet"])
    connection.close()


def _rows(rows: dict[str, list[tuple[Any, ...]]], at: int, pair: tuple[Entry, Entry]) -> None:
    opened, closed = pair
    ids = [f"01a00000-0000-7000-9000-{2 * at + which:012x}" for which in (0, 1)]
    for entry, entry_id in zip(pair, ids, strict=True):
        leaf = leaf_of(entry)
        where = (entry.kind.value, microseconds(entry.at), entry.subject, entry.turn_id)
        rows["entry"].append((entry_id, leaf, leaf_hash(leaf), None, *where))
    opened_us = microseconds(opened.at)
    turn = (opened.turn_id, opened_us, opened.subject, opened.conversation_id, closed.verdict, *ids, "writer")
    rows["turn"].append(turn)
    facets = dict.fromkeys((*facets_of(opened), *facets_of(closed)))
    rows["facet"] += [(facet, value, opened_us, opened.turn_id) for facet, value in facets]


def queries() -> Iterator[TurnQuery]:
    """Yield every filter alone, each two together, and three that hold for nothing together."""
    yield TurnQuery()
    for several in (*itertools.combinations(FILTERS, 1), *itertools.combinations(FILTERS, 2)):
        together: dict[str, Any] = {}
        for one in several:
            together |= one
        if len(together) == sum(map(len, several)):
            yield TurnQuery(**together)
            yield TurnQuery(**together, order=Order.OLDEST)
    yield TurnQuery(category="violence", rule="rule-5", verdict="block")
    yield TurnQuery(group="nobody", verdict="allow")


async def measure(search: TurnSearch) -> tuple[list[float], list[float], tuple[float, str]]:
    """Return the seconds of each page, first and following ones, by clock and by processor, and the slowest."""
    found: list[float] = []
    busy: list[float] = []
    slowest = (0.0, "")
    for query in queries():
        after = None
        for _ in range(ROUNDS):
            start, began = time.perf_counter(), time.process_time()
            page = await search.page(query, after, PAGE)
            found.append(time.perf_counter() - start)
            busy.append(time.process_time() - began)
            slowest = max(slowest, (found[-1], json.dumps(query.filters())))
            after = page.reached
    return found, busy, slowest


async def run(database: str, url: str, turns: int) -> dict[str, Any]:
    """Measure one size on one database."""
    engine = make_engine(url)
    try:
        search = SqlTurnSearch(engine, FileMasterKey(bytes(32)))
        await search.page(TurnQuery(), None, PAGE)
        found, busy, slowest = await measure(search)
        start = time.perf_counter()
        await search.counts(TurnQuery(since=END - timedelta(days=30)), 86_400)
        month = (time.perf_counter() - start) * 1000
    finally:
        await engine.dispose()
    return {
        "database": database,
        "turns": turns,
        "pages": len(found),
        "p50_ms": percentile(found, 0.5),
        "p95_ms": percentile(found, 0.95),
        "p99_ms": percentile(found, 0.99),
        "cpu_p50_ms": percentile(busy, 0.5),
        "cpu_p95_ms": percentile(busy, 0.95),
        "slowest_ms": round(slowest[0] * 1000, 1),
        "slowest": slowest[1],
        "counts_of_a_month_ms": round(month, 1),
    }


def document(found: list[dict[str, Any]], command: str, on: str) -> str:
    """Put the figures into the part of docs/benchmarks.md."""
    intro = (
        f"Pages of {PAGE} turns: every filter but `text` alone and each two of them together, both orders, "
        f"{ROUNDS} pages each ({found[0]['pages']} pages).\n"
    )
    names = ("p50_ms", "p95_ms", "p99_ms", "cpu_p50_ms", "cpu_p95_ms", "slowest_ms", "counts_of_a_month_ms")
    rows: list[list[object]] = [[one["database"], f"{one['turns']:,}", *(one[name] for name in names)] for one in found]
    columns = [
        "database",
        "turns",
        "page p50, ms",
        "p95 (goal ≤ 200)",
        "p99",
        "CPU p50",
        "CPU p95",
        "slowest",
        "counts of a month, ms",
    ]
    times = [_times([one for one in found if one["database"] == name]) for name in DATABASES]
    note = "Processor time is the gateway's side; PostgreSQL has processes of its own.\n"
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows), *times, note])


def _times(found: list[dict[str, Any]]) -> str:
    small, large = found[0], found[-1]
    ratio = large["p95_ms"] / small["p95_ms"]
    return (
        f"{small['database']}: the p95 at {large['turns']:,} turns is {ratio:.2f} × that at {small['turns']:,} "
        f"(goal ≤ 2 ×); the slowest page asks for `{large['slowest']}`.\n"
    )


def databases(path: Path, turns: int, server: URL) -> Iterator[dict[str, Any]]:
    """Measure one size on SQLite, then on PostgreSQL."""
    yield asyncio.run(run(SQLITE, f"sqlite+aiosqlite:///{path}", turns))
    with fresh_database(server) as url:
        upgrade(url)
        start = time.perf_counter()
        asyncio.run(to_postgres(path, url))
        say(f"  carried over to PostgreSQL in {time.perf_counter() - start:.0f} s")
        yield asyncio.run(run(POSTGRESQL, url, turns))


def main() -> int:
    """Measure every size on each database."""
    on, found = report.machine(), []
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as made, postgres_url() as server:
        for turns in chosen.turns:
            folder = chosen.keep or Path(made)
            path = folder / f"search-{turns}.db"
            if not path.exists():
                start = time.perf_counter()
                fill(path, turns)
                say(f"  made {turns} turns in {time.perf_counter() - start:.0f} s")
            for one in databases(path, turns, server):
                found.append(one)
                say(json.dumps(one))
    body = document(found, "python -m tests.bench.audit_search " + " ".join(sys.argv[1:]), on)
    say(body)
    if chosen.write:
        report.write("audit-search", "Search of the audit log", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
