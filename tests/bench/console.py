"""`python -m tests.bench.console`: how fast the console is for an officer, on PostgreSQL and with Elasticsearch.

The real gateway on a large log (`--turns`; `--delivered` where Elasticsearch has it, too): the search page with its
counts, filter by filter; a turn's page; an export of 100,000 turns, and the gateway's memory while it runs.
`--keep FOLDER` keeps the log on SQLite that both are filled from.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import psutil

from audit.keys import FileMasterKey
from audit.signing import SigningKeys
from migrations.run import upgrade
from tests.bench import report
from tests.bench.audit_search import END, SPAN, entries
from tests.bench.big_log import BigLog
from tests.bench.big_servers import to_elasticsearch, to_postgres
from tests.bench.load import percentile, say
from tests.rig.elasticsearch import ElasticsearchServer, elasticsearch
from tests.rig.postgres import fresh_database, postgres_url
from tests.rig.product import Product, running_product
from tests.rig.sign_in import Browser

Figures = dict[str, Any]
SCRIPT = {"default": {"text": "Gladly."}}
FILTERS: tuple[dict[str, str], ...] = (
    {}, {"subject": "person-17"}, {"group": "team-3"}, {"verdict": "block"}, {"category": "violence"},
    {"rule": "rule-5"}, {"model": "large"}, {"since": (END - timedelta(days=3)).isoformat()},
    {"verdict": "block", "category": "hate"}, {"group": "staff", "order": "oldest"},
    {"conversation_id": "conversation-12"},
)  # fmt: skip
"""What an officer asks for; each without its second page's cursor, so with all counts."""


def make_log(folder: Path, turns: int) -> None:
    """Make the log on SQLite, with its keys and all of it waiting for delivery, unless it is there from before."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    keys, master = SigningKeys(folder / "signing"), FileMasterKey.load_or_create(folder / "master.key")
    BigLog(folder / "attest.db", keys, master, waiting=True).fill(entries(turns, random.Random(7)))
    (folder / "done").touch()
    say(f"  made {turns:,} turns in {time.perf_counter() - began:.0f} s")


def data_of(log: Path, work: Path) -> None:
    """Give a product the keys of a log."""
    (work / "data").mkdir(parents=True)
    shutil.copy(log / "master.key", work / "data")
    shutil.copytree(log / "signing", work / "data" / "signing")


async def timed(browser: Browser, url: str) -> tuple[float, str]:
    """Return how long a page takes, to its last byte, and the page."""
    began = time.perf_counter()
    async with browser.session.get(url) as answer:
        body = await answer.text()
        assert answer.status == 200, (answer.status, body[:500])
    return time.perf_counter() - began, body


async def pages(product: Product, turns: int, rounds: int) -> Figures:
    """Measure search pages and turns' pages; every one of them is written into the log, too."""
    dice, found, of_turns, slowest = random.Random(3), list[float](), list[float](), (0.0, "")
    async with Browser(product.url) as browser:
        await browser.sign_in(product.url, "carol", "/console/search")
        for at in range(rounds + 1):
            for values in FILTERS:
                took, body = await timed(browser, f"{product.url}/console/search?{urlencode(values)}")
                if at:  # the first round warms up
                    found.append(took)
                    slowest = max(slowest, (took, json.dumps(values)))
        source = "elasticsearch" if "Elasticsearch" in body else "sql"
        for _ in range(rounds * 8):
            turn = f"01a00000-0000-7000-8000-{dice.randrange(turns):012x}"
            of_turns.append((await timed(browser, f"{product.url}/console/turns/{turn}"))[0])
    return {
        "answered by": source,
        "search": (percentile(found, 0.5), percentile(found, 0.95)),
        "turn": (percentile(of_turns, 0.5), percentile(of_turns, 0.95)),
        "slowest": f"{slowest[0] * 1000:.0f} ms, {slowest[1]}",
    }


async def export(product: Product, most: int) -> Figures:
    """Take turns out as NDJSON until there were so many; watch the gateway's memory."""
    assert product.gateway is not None
    gateway, headers = psutil.Process(product.gateway.pid), {"authorization": f"Bearer {product.token('carol')}"}
    url, turns, memory, began = f"{product.url}/api/audit/export?format=ndjson", 0, list[float](), 0.0
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        assert answer.status == 200
        began, used = time.perf_counter(), sum(gateway.cpu_times()[:2])
        async for part in answer.content.iter_any():
            turns += part.count(b"\n")
            if turns * 20 // most >= len(memory):
                memory.append(gateway.memory_info().rss / 2**20)
            if turns >= most:
                break
        took, used = time.perf_counter() - began, sum(gateway.cpu_times()[:2]) - used
    return {"turns": turns, "per_s": round(turns / took), "cpu_ms": round(1000 * used / turns, 3),
            "memory": tuple(round(memory[at]) for at in (0, len(memory) // 2, -1))}  # fmt: skip


async def measure(product: Product, options: argparse.Namespace, turns: int) -> Figures:
    """Measure one gateway."""
    found = await pages(product, turns, options.rounds)
    return {"turns": turns, **found, "export": await export(product, options.exported)}


def stores(options: argparse.Namespace, work: Path) -> Iterator[tuple[str, Figures]]:
    """Measure PostgreSQL alone, then with Elasticsearch."""
    folder = options.keep or work
    with postgres_url() as server:
        for name, turns in (("postgresql", options.turns), ("elasticsearch", options.delivered)):
            log = folder / f"console-{turns}"
            make_log(log, turns)
            data_of(log, work / name)
            with fresh_database(server) as database:
                upgrade(database)
                asyncio.run(to_postgres(log / "attest.db", database))
                say(f"  {name}: PostgreSQL is filled")
                settings = {"ATTEST_DATABASE_URL": database}
                if name == "postgresql":
                    with running_product(work / name, SCRIPT, **settings) as product:
                        yield name, asyncio.run(measure(product, options, turns))
                    continue
                with elasticsearch() as elastic:
                    yield name, on_elasticsearch(options, log, work / name, elastic, settings)


def on_elasticsearch(
    options: argparse.Namespace, log: Path, work: Path, elastic: ElasticsearchServer, settings: dict[str, str]
) -> Figures:
    """Deliver a copy of the log, and measure a gateway that searches there."""
    copy = work / "outbox.db"
    shutil.copy(log / "attest.db", copy)
    master = FileMasterKey.load(log / "master.key")
    moved = asyncio.run(to_elasticsearch(copy, master, elastic, END - SPAN, END))
    say(f"  Elasticsearch has {moved:,} records")
    settings |= {
        "ATTEST_ELASTICSEARCH_URL": elastic.url,
        "ATTEST_ELASTICSEARCH_WRITER": elastic.login("attest_writer"),
        "ATTEST_ELASTICSEARCH_READER": elastic.login("attest_compliance"),
    }
    with running_product(work, SCRIPT, **settings) as product:
        return asyncio.run(measure(product, options, options.delivered))


def document(found: dict[str, Figures], command: str, on: str) -> str:
    """Put the figures into the part of docs/benchmarks.md."""
    intro = (
        "The real gateway over HTTP, signed in as an officer, until the last byte of the page; search pages are first "
        f"pages of 50 turns with histogram and facets, {len(FILTERS)} sets of filters, without text. The export is "
        "NDJSON with every record of a turn, its memory that of the gateway near the beginning, in the middle and at "
        "the end.\n"
    )
    rows: list[list[object]] = []
    for name, one in found.items():
        export = one["export"]
        times = [f"{p50} / {p95}" for p50, p95 in (one["search"], one["turn"])]
        rows.append([
            name, f"{one['turns']:,}", one["answered by"], *times,
            f"{export['per_s']:,} of {export['turns']:,}", export["cpu_ms"], " → ".join(map(str, export["memory"])),
        ])  # fmt: skip
    columns = [
        "log", "turns", "answered by", "search page p50 / p95, ms (goal ≤ 800; by Elasticsearch ≤ 400)",
        "a turn's page p50 / p95, ms (goal ≤ 200)",
        "export, turns/s (goal ≥ 5,000)", "CPU, ms a turn", "memory, MiB",
    ]  # fmt: skip
    slow = "\n".join(f"Slowest with {name}: {one['slowest']}." for name, one in found.items())
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows), slow])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1_000_000)
    parser.add_argument("--delivered", type=int, default=1_000_000)
    parser.add_argument("--exported", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as made:
        found = {}
        for name, figures in stores(options, Path(made)):
            found[name] = figures
            say(f"  {name}: {figures}")
    body = document(found, "python -m tests.bench.console " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("console", "The console", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
