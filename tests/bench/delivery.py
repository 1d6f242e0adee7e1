"""How fast records reach a real Elasticsearch: `python -m tests.bench.delivery [--records N] [--rounds N]`.

The same outbox on SQLite is delivered several times, each time into new indices. The first rounds are not counted: a
server that has just started still compiles itself. Give this program and what it starts the same priority, or the
server waits for whoever else is busy.
"""

import argparse
import asyncio
import gc
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from audit.delivery import Delivery, DeliveryLimits
from audit.elastic.client import Identity, Server, connect
from audit.elastic.roles import WRITER
from audit.sinks.elasticsearch import ElasticsearchSink
from gateway.database import make_engine
from migrations.run import upgrade
from tests.bench import report
from tests.bench.load import say
from tests.contract.audit.turns import accepted, completed, released
from tests.integration.elastic.conftest import MASTER, Line, Watch, line_on, prepare
from tests.rig.elasticsearch import ElasticsearchServer, elasticsearch

Figures = dict[str, Any]
GOAL = 3000
WARM_UP = 6
"""Rounds that are not counted."""
TEXT = "请问这份合同的保密条款适用于哪些部门？ " * 30
"""About 2 KB of UTF-8 a record."""


async def fill(line: Line, records: int) -> None:
    """Append turns of four records: accepted, two stretches, completed."""

    async def talk(worker: int) -> None:
        for nth in range(records // (32 * 4)):
            turn = f"bench-{worker}-{nth}"
            await line.log.append(accepted(turn, TEXT, subject=f"user-{worker}"))
            await line.log.append(released(TEXT, 0, turn), released(TEXT, len(TEXT), turn), completed(TEXT, turn))

    await asyncio.gather(*(talk(worker) for worker in range(32)))
    while await line.sequencer.step():
        pass


async def deliver(server: ElasticsearchServer, folder: Path) -> Figures:
    """Deliver a copy of the outbox into new indices."""
    server.clear()
    await prepare(server)
    copy = folder / "copy"
    copy.mkdir()
    shutil.copy(folder / "attest.db", copy)
    engine = make_engine(f"sqlite+aiosqlite:///{copy}/attest.db")
    client = connect(Server((server.url,)), Identity.read(server.login(WRITER), ""))
    delivery = Delivery(engine, MASTER, ElasticsearchSink(client), Watch(), DeliveryLimits())
    server_s, began, used = cpu_s(server), time.perf_counter(), time.process_time()
    moved = await delivery.drain()
    took, used, server_s = time.perf_counter() - began, time.process_time() - used, cpu_s(server) - server_s
    state = await delivery.sample()
    await delivery.close()
    await engine.dispose()
    shutil.rmtree(copy)
    return {
        "records": moved,
        "per_s": round(moved / took),
        "worker_ms": round(1000 * used / moved, 3),
        "server_ms": round(1000 * server_s / moved, 3),
        "left": state.pending + state.dead_letters,
    }


def cpu_s(server: ElasticsearchServer) -> float:
    """Processor time of the server so far; nothing for one that somebody else started."""
    if server.process is None:
        return 0.0
    whole = psutil.Process(server.process.pid)
    times = [one.cpu_times() for one in (whole, *whole.children(recursive=True))]
    return sum(used.user + used.system for used in times)


async def collect(server: ElasticsearchServer, records: int, rounds: int) -> list[Figures]:
    """Fill an outbox and deliver it again and again; return the figures of each round."""
    found = []
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as name:
        folder = Path(name)
        upgrade(f"sqlite+aiosqlite:///{folder}/attest.db")
        async with line_on(f"sqlite+aiosqlite:///{folder}/attest.db", server, folder) as line:
            await fill(line, records)
        # As the gateway does at its start: what is there for good is not looked through again.
        gc.collect()
        gc.freeze()
        for nth in range(WARM_UP + rounds):
            found.append(await deliver(server, folder))
            say(f"  {'warm-up ' if nth < WARM_UP else ''}{found[-1]}")
    return found


def document(rounds: list[Figures], command: str, on: str) -> str:
    """Put the figures into the part of docs/benchmarks.md."""
    cold, found = rounds[0], rounds[WARM_UP:]
    intro = (
        f"{found[0]['records']:,} records (turns of four, 2 KB of Chinese text each) from an outbox on SQLite into new "
        "indices of a real Elasticsearch 9.2 with security on the same machine, both documents of each record, after "
        f"{WARM_UP} rounds that warm the server up (the first, cold: {cold['per_s']:,} a second). Nothing was left and "
        "nothing refused.\n"
    )
    names = ("per_s", "worker_ms", "server_ms")
    rows: list[list[object]] = [[nth, *(one[name] for name in names)] for nth, one in enumerate(found, 1)]
    columns = ["round", f"records/s (goal ≥ {GOAL:,})", "CPU of the worker, ms a record", "CPU of Elasticsearch, ms"]
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with elasticsearch() as server:
        server.clear()
        found = asyncio.run(collect(server, options.records, options.rounds))
    if any(one["left"] for one in found):
        say("Records were left behind or refused: these figures count for nothing.")
        return 1
    body = document(found, "python -m tests.bench.delivery " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("delivery", "Delivery to Elasticsearch", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
