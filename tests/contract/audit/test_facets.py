"""What turns are found by: written with the turn, and given by the migration to the turns that were there before."""

import asyncio

import msgspec
import pytest

from audit.canonical import column
from audit.record import Kind
from migrations.run import downgrade, upgrade
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import FINDING, accepted, completed, entry

OUTPUT = msgspec.structs.replace(FINDING, rule="secrets.aws", category="secret")
LONG = "g" * 300
ODD = "odd \ud800\\ group"
QUERY = "SELECT facet, value, turn_id FROM audit_facet ORDER BY 1, 2, 3"
EXPECTED = {
    ("category", "hate", "t1"), ("category", "secret", "t1"), ("rule", "hate", "t1"), ("rule", "secrets.aws", "t1"),
    ("group", column(LONG), "t1"), ("group", column(ODD), "t1"), ("role", "staff", "t1"), ("model", "demo", "t1"),
    ("model", "other", "t2"),
}  # fmt: skip


async def fill(log) -> None:
    await log.append(accepted(groups=(LONG, ODD), roles=("staff",), categories=("hate",)))
    await log.append(completed("x", findings=(OUTPUT,), categories=("secret",), groups=("later",), model="demo"))
    await log.append(entry(Kind.TURN_REFUSED, "t2", verdict="refused", model="other"))
    await log.append(entry(Kind.LOGIN, "", groups=("staff",)))


async def test_a_turn_is_found_by_what_its_records_say(log, raw):
    await fill(log)
    assert set(await raw.run(QUERY)) == EXPECTED


@pytest.mark.parametrize("together", [True, False])
async def test_facets_have_the_time_of_their_turn(log, raw, together):
    entries = (accepted(), completed("x", findings=(OUTPUT,)))
    await (log.append(*entries) if together else asyncio.gather(*(log.append(one) for one in entries)))
    times = await raw.run("SELECT DISTINCT opened_us FROM audit_facet")
    assert times == await raw.run("SELECT opened_us FROM audit_turn")
    assert len(await raw.run(QUERY)) == 6


async def test_turns_from_before_get_their_facets(database, raw):
    async with opened(database) as log:
        await fill(log)
    before = await raw.run("SELECT * FROM audit_facet ORDER BY 1, 2, 3, 4")
    await asyncio.to_thread(downgrade, database, "0003_history")
    assert "audit_facet" in await raw.refused(QUERY)
    await asyncio.to_thread(upgrade, database)
    assert await raw.run("SELECT * FROM audit_facet ORDER BY 1, 2, 3, 4") == before
