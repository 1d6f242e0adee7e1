"""`python -m tests.bench.text_search`: how long a page of a search for a text takes in a real Elasticsearch.

Turns with a question and an answer each, English and Chinese in turn, over 180 days; made in bulk, delivered as the
gateway does, then asked for words that nearly every text, some texts, one text and no text has, alone and with
other filters. `--records` changes the sizes, `--keep FOLDER` keeps the logs for the next run.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audit.elastic.client import Identity, Server, connect
from audit.elastic.roles import COMPLIANCE
from audit.keys import FileMasterKey
from audit.record import Content, Entry, Kind
from audit.search.elasticsearch import ElasticTurnSearch
from audit.search.query import TurnQuery
from audit.signing import SigningKeys
from tests.bench import report
from tests.bench.audit_search import STAGES, VERDICTS
from tests.bench.big_log import BigLog
from tests.bench.big_servers import to_elasticsearch
from tests.bench.load import percentile, say
from tests.bench.texts import prompt, sentences
from tests.rig.elasticsearch import ElasticsearchServer, elasticsearch

Figures = dict[str, Any]
END = datetime(2026, 11, 20, tzinfo=UTC)
SPAN = timedelta(days=180)
PAGE = 50
PAGES = 3
ROUNDS = 8
WORDS = (
    *("three sentences", "谢谢你的帮助"),  # nearly every text of that language
    *("weekly menu", "年度预算", "the choir plans the seating plan", "图书馆在早上检查会议记录"),
    *("item 1234", "第1235号任务", "zebra crossing", "斑马线"),
)
FILTERS: tuple[dict[str, Any], ...] = (
    {}, {"subject": "person-17"}, {"group": "team-3"}, {"verdict": "block"}, {"since": END - timedelta(days=3)},
)  # fmt: skip


def turns(count: int) -> Iterator[tuple[Entry, Entry]]:
    """Yield the opening and the closing record of each turn, each with its text."""
    for at in range(count):
        lang, opened = ("en", "zh")[at % 2], END - SPAN + SPAN * at / count
        common: dict[str, Any] = {
            "subject": f"person-{at % 500}",
            "turn_id": f"01a00000-0000-7000-8000-{at:012x}",
            "conversation_id": f"conversation-{at // 5}",
            "groups": ("staff", f"team-{at % 40}"),
            "roles": ("staff",),
            "surface": "page.stream",
            "model": "large",
            "policy_hash": "ab" * 32,
            "stages": STAGES,
        }
        asked, answered = prompt(lang, at), "".join(sentences(lang, at))
        yield (
            Entry(kind=Kind.TURN_ACCEPTED, at=opened, verdict="allow",
                  contents=(Content("message", "user", asked),), **common),
            Entry(kind=Kind.TURN_COMPLETED, at=opened + timedelta(seconds=3), verdict=VERDICTS[at * 7 % 100],
                  length=len(answered), contents=(Content("delivered", "assistant", answered),), **common),
        )  # fmt: skip


async def measure(server: ElasticsearchServer) -> Figures:
    """Ask for every text with every filter, page after page."""
    client = connect(Server((server.url,)), Identity.read(server.login(COMPLIANCE), ""), 30)
    search, found, slowest = ElasticTurnSearch(client), list[float](), (0.0, "")
    try:
        for nth in range(ROUNDS + 2):
            for text, more in itertools.product(WORDS, FILTERS):
                query, after = TurnQuery(text=text, **more).checked(), None
                for _ in range(PAGES):
                    began = time.perf_counter()
                    page = await search.page(query, after, PAGE)
                    took, after = time.perf_counter() - began, page.reached
                    if nth > 1:  # the first rounds warm up
                        found.append(took)
                        slowest = max(
                            slowest, (took, json.dumps({"text": text, **query.filters()}, ensure_ascii=False))
                        )
                    if after is None:
                        break
    finally:
        await client.close()
    return {
        "pages": len(found),
        **{f"p{per}_ms": percentile(found, per / 100) for per in (50, 95, 99)},
        "slowest": f"{slowest[0] * 1000:.0f} ms, {slowest[1]}",
    }


def run(records: int, folder: Path) -> Figures:
    """Measure one size on a server of its own."""
    log, copy = folder / f"text-search-{records}", folder / "outbox"
    if not (log / "done").exists():
        log.mkdir(parents=True)
        keys, master = SigningKeys(log / "signing"), FileMasterKey.load_or_create(log / "master.key")
        BigLog(log / "attest.db", keys, master, waiting=True).fill(turns(records // 2))
        (log / "done").touch()
    copy.mkdir()
    shutil.copy(log / "attest.db", copy)
    with elasticsearch() as server:
        server.clear()
        began = time.perf_counter()
        master = FileMasterKey.load(log / "master.key")
        moved = asyncio.run(to_elasticsearch(copy / "attest.db", master, server, END - SPAN, END))
        took = time.perf_counter() - began
        say(f"  {moved:,} records delivered, {moved / took:,.0f} a second")
        found = {"records": moved, "delivered_per_s": round(moved / took), **asyncio.run(measure(server))}
    shutil.rmtree(copy)
    say(f"  {found}")
    return found


def document(found: list[Figures], command: str, on: str) -> str:
    """Put the figures into the part of docs/benchmarks.md."""
    intro = (
        f"{len(WORDS)} texts (that nearly every text of a language holds, that one holds, that none holds; English and "
        f"Chinese), alone and with {len(FILTERS) - 1} other filters; up to {PAGES} pages of {PAGE} turns each, "
        "by the gateway's own search, each turn's leaf checked. Every record has a text.\n"
    )
    names = ("pages", "p50_ms", "p95_ms", "p99_ms", "delivered_per_s")
    rows: list[list[object]] = [[f"{one['records']:,}", *(one[name] for name in names)] for one in found]
    columns = ["records", "pages", "p50, ms", "p95, ms (goal ≤ 200)", "p99, ms", "delivered/s"]
    first, last = found[0], found[-1]
    times = (
        f"The p95 at {last['records']:,} records is {last['p95_ms'] / first['p95_ms']:.2f} × that at "
        f"{first['records']:,} (goal ≤ 2 ×). The slowest page: {last['slowest']}.\n"
    )
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows), times])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as made:
        found = [run(records, options.keep or Path(made)) for records in options.records]
    body = document(found, "python -m tests.bench.text_search " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("text-search", "Search for a text in Elasticsearch", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
