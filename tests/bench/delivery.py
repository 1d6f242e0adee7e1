"""How fast records reach a real Elasticsearch: `python -m tests.bench.delivery [--records N]`, on SQLite.

Prints records a second of the wall clock, and the processor time of the worker for a thousand records: on a machine
that does other things too, the second figure is the one that says something.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from audit.delivery import Delivery, DeliveryLimits
from audit.elastic.client import Identity, Server, connect
from audit.elastic.roles import WRITER
from audit.sinks.elasticsearch import ElasticsearchSink
from migrations.run import upgrade
from tests.contract.audit.turns import accepted, completed, released
from tests.integration.elastic.conftest import MASTER, Line, line_on, prepare
from tests.rig.elasticsearch import ElasticsearchServer, elasticsearch

TEXT = "请问这份合同的保密条款适用于哪些部门？ " * 30
"""About 2 KB of UTF-8 a record."""


async def fill(line: Line, records: int) -> None:
    async def talk(worker: int) -> None:
        for nth in range(records // (32 * 4)):
            turn = f"bench-{worker}-{nth}"
            await line.log.append(accepted(turn, TEXT, subject=f"user-{worker}"))
            await line.log.append(released(TEXT, 0, turn), released(TEXT, len(TEXT), turn), completed(TEXT, turn))

    await asyncio.gather(*(talk(worker) for worker in range(32)))
    while await line.sequencer.step():
        pass


async def measure(server: ElasticsearchServer, records: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        database = f"sqlite+aiosqlite:///{name}/attest.db"
        upgrade(database)
        await prepare(server)
        async with line_on(database, server, Path(name)) as line:
            await fill(line, records)
            client = connect(Server((server.url,)), Identity.read(server.login(WRITER), ""))
            delivery = Delivery(line.engine, MASTER, ElasticsearchSink(client), line.watch, DeliveryLimits())
            began, used = time.perf_counter(), time.process_time()
            moved = await delivery.drain()
            took, used = time.perf_counter() - began, time.process_time() - used
            await delivery.close()
            state = await line.outbox.state()
        print(f"{moved} records in {took:.1f} s, {moved / took:.0f} a second; {1000 * used / moved:.3f} s of processor "  # noqa: T201
              f"time for 1,000 records; left {state.pending}, dead letters {state.dead_letters}")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=20_000)
    wanted = parser.parse_args().records
    with elasticsearch() as running:
        running.clear()
        asyncio.run(measure(running, wanted))
