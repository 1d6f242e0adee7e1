"""A process that delivers until it is killed at a named step; leases are short, so that the next one need not wait.

python -m tests.fault.delivering DATABASE URL LOGIN STEP
"""

import asyncio
import os
import signal
import sys

import audit.delivery
import audit.outbox
from audit.elastic.client import Identity, Server, connect
from audit.outbox import Outbox
from audit.sinks.elasticsearch import ElasticsearchSink
from gateway.database import make_engine
from tests.integration.elastic.conftest import MASTER, Watch

LEASE_S = 0.5
STEPS = {
    "before the claim": (Outbox, "claim", False),
    "after the claim": (Outbox, "claim", True),
    "before it is sent": (ElasticsearchSink, "deliver", False),
    "after the answer": (ElasticsearchSink, "deliver", True),
    "after it is settled": (Outbox, "settle", True),
}


def arm(step: str) -> None:
    owner, name, after = STEPS[step]
    real = getattr(owner, name)

    async def last(*arguments: object, **named: object) -> None:
        if after:
            await real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, last)


async def main(database: str, url: str, login: str, step: str) -> None:
    audit.outbox.LEASE_S = LEASE_S  # type: ignore[misc]
    arm(step)
    sink = ElasticsearchSink(connect(Server((url,)), Identity.read(login, ""), 10))
    await audit.delivery.Delivery(make_engine(database), MASTER, sink, Watch()).round()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
