"""`python -m tests.bench.outage`: live turns while the backlog of an outage of Elasticsearch drains.

The real gateway, a scripted model, a real Elasticsearch that has compiled itself: turns with nothing to catch up on and
turns while the records of ten minutes at 50 turns a second (30,000 turns) wait for delivery, on alternating gateways.
The backlog is put into the log as an outage would leave it, not waited for.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

from audit.delivery import Delivery, DeliveryLimits
from audit.elastic import client as elastic
from audit.elastic.roles import WRITER
from audit.keys import FileMasterKey
from audit.signing import SigningKeys
from audit.sinks.elasticsearch import ElasticsearchSink
from gateway.database import make_engine
from tests.bench import report
from tests.bench.__main__ import Load
from tests.bench.big_log import BigLog, turns
from tests.bench.load import say
from tests.bench.processes import BenchError, Server, gateway, upstream
from tests.integration.elastic.conftest import Watch, prepare
from tests.rig.elasticsearch import ElasticsearchServer, elasticsearch

Figures = dict[str, Any]
GOAL = 1.2
"""Most that the p99 of live turns may grow by."""
GATEWAYS = (False, True, False, True)
"""Whether a backlog waits, of gateways one after another; with `--drain` the last goes on until it is gone."""
PENDING = "attest_delivery_pending_records "


def pending(server: Server) -> int:
    """Records that wait, as the gateway's metrics say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith(PENDING)).removeprefix(PENDING)))


def live(load: Load, server: Server, options: argparse.Namespace) -> Figures:
    """Warm up, then measure turns at an even rate; say what waited before and after."""
    load.run(server, count=50)
    before, began = pending(server), time.perf_counter()
    figures = load.run(server, "--rate", str(options.rate), "--seconds", str(options.seconds), room=20_000)[-1]
    took = time.perf_counter() - began
    time.sleep(1.2)  # the next sample of the outbox
    return figures | {"before": before, "after": pending(server), "took_s": took}


def drained(load: Load, server: Server, options: argparse.Namespace, usual: int) -> list[Figures]:
    """Measure slice after slice of live turns until no more than `usual` records wait, or the time is over."""
    found = [live(load, server, options)]
    began = time.perf_counter()
    while found[-1]["after"] > usual and time.perf_counter() - began < options.drain:
        found.append(live(load, server, options))
        say(f"  {found[-1]}")
    return found


def make(data: Path, count: int) -> None:
    """Make the log of so many turns, all of it waiting for delivery, with its keys."""
    data.mkdir()
    keys, master = SigningKeys(data / "signing"), FileMasterKey.load_or_create(data / "master.key")
    BigLog(data / "attest.db", keys, master, waiting=True).fill(turns(count, 1))


async def warm(search: ElasticsearchServer, made: Path, work: Path) -> None:
    """Deliver the backlog once, as fast as can be: a server that has just started still compiles itself."""
    search.clear()
    await prepare(search)
    shutil.copytree(made, work)
    engine = make_engine(f"sqlite+aiosqlite:///{work}/attest.db")
    login = elastic.Identity.read(search.login(WRITER), "")
    sink = ElasticsearchSink(elastic.connect(elastic.Server((search.url,)), login))
    delivery = Delivery(engine, FileMasterKey.load(work / "master.key"), sink, Watch(), DeliveryLimits())
    began = time.perf_counter()
    moved = await delivery.drain()
    say(f"  warm: {moved:,} records delivered alone, {moved / (time.perf_counter() - began):,.0f} a second")
    await delivery.close()
    await engine.dispose()
    shutil.rmtree(work)


def collect(options: argparse.Namespace, folder: Path, search: ElasticsearchServer) -> list[Figures]:
    """Measure without and with a backlog, in turn, on gateways that are alike."""
    load, found, made = Load(), list[Figures](), folder / "made"
    make(made, options.turns)
    asyncio.run(warm(search, made, folder / "warming"))
    settings = {"ATTEST_ELASTICSEARCH_URL": search.url, "ATTEST_ELASTICSEARCH_WRITER": search.login(WRITER)}
    with upstream(folder) as model:
        for nth, turns_waiting in enumerate(GATEWAYS):
            backlog = options.turns if turns_waiting else 0
            data = folder / f"data-{nth}"
            search.clear()
            asyncio.run(prepare(search))
            if backlog:
                shutil.copytree(made, data)
            else:
                make(data, 0)
            with gateway(folder, model.port, data, settings) as server:
                if nth == len(GATEWAYS) - 1 and options.drain:
                    # As many wait on a gateway that has nothing to catch up on: delivery rests between its parts.
                    usual = max(one["after"] for one in found if not one["backlog"])
                    slices = drained(load, server, options, usual)
                else:
                    slices = [live(load, server, options)]
            found += [figures | {"backlog": 2 * backlog} for figures in slices]
            say(f"  {found[-1]}")
    return found


def document(found: list[Figures], rate: float, command: str, on: str) -> str:
    """Put the figures into the part of docs/benchmarks.md."""
    intro = (
        f"Live turns at {rate:g} a second (English, not streamed) on a gateway that delivers to a real Elasticsearch "
        "on the same two cores, with nothing to catch up on and with the records of an outage waiting. Four "
        "gateways, one after another, and a server that had delivered the same backlog before. "
        "Each line is one slice.\n"
    )
    rows: list[list[object]] = [
        [
            f"{one['backlog']:,}",
            one["p50_ms"],
            one["p99_ms"],
            f"{one['before']:,} → {one['after']:,}",
            round((one["before"] - one["after"]) / one["took_s"]),
            one["errors"],
        ]
        for one in found
    ]
    # All slices count: the first of a backlog and the last are not alike.
    without, with_ = (median(one["p99_ms"] for one in found if bool(one["backlog"]) is some) for some in (False, True))
    columns = ["backlog, records", "p50, ms", "p99, ms", "waiting", "drained/s beside the turns", "errors"]
    last = f"The p99 with a backlog is {with_ / without:.2f} × that without (medians of the slices; goal ≤ {GOAL} ×).\n"
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows), last])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=20.0, help="live turns a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement")
    parser.add_argument("--turns", type=int, default=30_000, help="turns of the outage")
    parser.add_argument(
        "--drain",
        type=float,
        default=0,
        help="let the last gateway go on until its backlog is gone, at most so many seconds",
    )
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with elasticsearch() as search, tempfile.TemporaryDirectory(prefix="attest-bench-") as name:
        try:
            found = collect(options, Path(name), search)
        except BenchError as error:
            say(f"The benchmark could not run: {error}")
            return 1
    body = document(found, options.rate, "python -m tests.bench.outage " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("outage", "Catching up after an outage of Elasticsearch", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
