"""A month that left Elasticsearch for good stays away from the daily bootstrap, unless something waits in it."""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.elastic.families import month_of
from audit.governing import Governor
from audit.outbox import Delay
from audit.retention import MINIMUM, Keeping, Retention
from audit.rows import microseconds
from tests.contract.audit.turns import accepted, completed
from tests.integration.elastic.conftest import Line, prepare, this_month
from tests.integration.elastic.test_old_months import KEEP, both, drain, evidence, old_months, verified
from tests.rig.product import ROOT

AGO = datetime.now(UTC) - timedelta(days=250)
LATE = AGO + timedelta(microseconds=1)
MONTH = month_of(AGO)


@pytest.fixture
async def dropped(line: Line) -> Line:
    """Ten records of a month that was delivered, kept for its time and dropped."""
    await prepare(line.server, AGO)
    for nth in range(4):
        await line.append(accepted(f"t{nth}", at=AGO), completed("x", f"t{nth}", at=AGO))
    await line.append(accepted("late", at=LATE), completed("x", "late", at=LATE))
    await drain(line)
    await drop(line)
    return line


async def drop(line: Line) -> None:
    async with old_months(line) as months:
        assert (await months.run()).dropped == [f"attest-{one}-{MONTH}" for one in ("audit", "content", "delivery")]


async def bootstrap(line: Line, folder: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Run the command as a timer does; return the indices that it made and what it says of records."""
    environment = {
        "PATH": "/usr/bin:/bin", "ATTEST_DATABASE_URL": line.engine.url.render_as_string(hide_password=False),
        "ATTEST_DATA_DIR": str(folder), "ATTEST_ELASTICSEARCH_URL": line.server.url,
        "ATTEST_ELASTICSEARCH_BOOTSTRAP": line.server.login("attest_bootstrap"),
    }  # fmt: skip
    command = [sys.executable, "-m", "gateway", "audit", "bootstrap", "--months", "1", "--json"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    steps = json.loads((await process.communicate())[0])
    made = [one["name"] for one in steps if (one["what"], one["state"]) == ("index", "made")]
    return made, [(one["name"], one["detail"]) for one in steps if one["what"] == "records"]


async def test_it_is_neither_made_nor_delivered_again(dropped: Line, tmp_path: Path):
    made, records = await bootstrap(dropped, tmp_path)
    assert made  # the months in between, which the fixture did not make
    assert (not [name for name in made if MONTH in name], records) == (True, [])
    assert (await dropped.outbox.state()).pending == 0
    assert both(MONTH).isdisjoint(evidence(dropped))
    summary, found = await verified(dropped, KEEP)
    assert (summary.expired, found) == (10, [])


async def test_what_waits_for_it_arrives_and_nothing_else(dropped: Line, tmp_path: Path):
    await waits(dropped)
    for _ in range(2):  # a lifecycle policy was quicker than delivery: the next day comes another try
        for family in ("audit", "content", "delivery"):
            dropped.server.call("DELETE", f"/attest-{family}-{MONTH}?ignore_unavailable=true")
        made, records = await bootstrap(dropped, tmp_path)
        assert [name for name in made if MONTH in name] == [
            f"attest-{family}-{MONTH}" for family in ("audit", "content", "delivery")
        ]
        assert records == [(MONTH, "2 delivered late, the month is over")]
    summary, found = await verified(dropped, KEEP)
    assert (summary.undelivered, summary.expired, found) == (2, 8, [])
    assert (await pruned(dropped)).undelivered == 2
    await drain(dropped)
    dropped.server.call("POST", "/attest-*/_refresh")
    assert dropped.server.call("GET", f"/attest-content-{MONTH}/_count")["count"] == 2
    summary, found = await verified(dropped, KEEP)
    assert (summary.undelivered, summary.expired, found) == (0, 8, [])
    await drop(dropped)
    assert (await bootstrap(dropped, tmp_path)) == ([], [])
    assert evidence(dropped) >= both(this_month())
    assert (await pruned(dropped)).undelivered == 0


async def waits(line: Line) -> None:
    """Queue the last two records, as if they had been tried, for another try in a quarter of an hour."""
    assert await line.outbox.put_back(microseconds(LATE), microseconds(LATE) + 1) == 2
    claims = await line.outbox.claim(10)
    later = Delay(time.time_ns() // 1000 + 900_000_000, "index_missing 403")
    await line.outbox.settle((), {one.entry_id: later for one in claims})


async def pruned(line: Line):
    return await Retention(Governor(line.engine), Keeping(MINIMUM, delivery=True)).run(dry=True)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_dead_letter_alone_brings_no_month_back(dropped: Line, tmp_path: Path):
    await waits(dropped)
    ids = [one.entry_id for one in await dead(dropped)]
    made, records = await bootstrap(dropped, tmp_path)
    assert (not [name for name in made if MONTH in name], records) == (True, [])
    assert await dropped.outbox.retry(ids) == 2
    made, records = await bootstrap(dropped, tmp_path)
    assert records == [(MONTH, "2 delivered late, the month is over")]
    await drain(dropped)
    assert (await dropped.outbox.state()).pending == 0


async def dead(line: Line):
    """Make dead letters of all that waits; return them."""
    await line.outbox.hasten(0, 2**62)
    await line.outbox.settle((), dead={one.entry_id: "no reason 400" for one in await line.outbox.claim(10)})
    return await line.outbox.dead_letters(10)
