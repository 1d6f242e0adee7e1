"""Lanes of one process share the outbox."""

import asyncio

from sqlalchemy import event

from audit.outbox import Outbox
from gateway.database import make_engine
from migrations.run import upgrade


async def test_lanes_stand_in_line_for_sqlites_one_write_lock(tmp_path):
    """Not one of them has to wait inside SQLite, where waiting is a matter of luck."""
    url = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
    upgrade(url)
    engine = make_engine(url)

    @event.listens_for(engine.sync_engine, "connect")
    def impatient(connection, _) -> None:
        connection.cursor().execute("PRAGMA busy_timeout=0")

    outbox = Outbox(engine)
    try:
        for _ in range(2):  # the second time every connection is there, and all begin at once
            await asyncio.gather(*(outbox.settle([f"none-{lane}-{nth}" for nth in range(5000)]) for lane in range(4)))
    finally:
        await engine.dispose()
