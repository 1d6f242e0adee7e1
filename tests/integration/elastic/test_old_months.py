"""Old months leave a server that has no lifecycle policies; what is held or waits stays, whatever its age."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from audit.elastic.client import Server, connect
from audit.elastic.months import OldMonths
from audit.elastic.roles import RETENTION, VERIFIER, WRITER
from audit.elastic.verify import StoreSummary, StoreVerifier
from audit.governing import Governor
from audit.hold import HoldOrder, Holds
from audit.ports import AuditUnavailableError
from audit.rows import microseconds
from audit.verify import Finding
from tests.contract.audit.turns import accepted, completed
from tests.integration.elastic.conftest import MASTER, Line, closing, identity, prepare, this_month
from tests.rig.faulty_proxy import FaultyProxy

KEEP = timedelta(days=215)
MONTHS = tuple(datetime(2020, month, 1, tzinfo=UTC) for month in (1, 2, 3))


@asynccontextmanager
async def old_months(line: Line, role: str = RETENTION, url: str = "") -> AsyncIterator[OldMonths]:
    client = connect(Server((url or line.server.url,)), identity(line.server, role), 10)
    async with closing(OldMonths(client, Governor(line.engine), KEEP)) as months:
        yield months


@pytest.fixture
async def aged(line: Line) -> Line:
    """Three months of long ago and the present one, each with a turn of its own person, delivered."""
    await prepare(line.server, *MONTHS)
    for subject, month in zip(("alice", "bob", "carol"), MONTHS, strict=True):
        at = month + timedelta(days=20)
        turn = {"subject": subject, "at": at}
        await line.append(
            accepted(f"t-{subject}", **turn, conversation_id=f"c-{subject}"), completed("x", f"t-{subject}", **turn)
        )
    await line.append(accepted("t-dan", subject="dan"), completed("x", "t-dan", subject="dan"))
    await drain(line)
    return line


async def drain(line: Line) -> None:
    async with closing(line.delivery()) as delivery:
        await delivery.drain()


def evidence(line: Line) -> set[str]:
    names = [one["index"] for one in line.server.call("GET", "/_cat/indices/attest-*?format=json")]
    return {name.removeprefix("attest-") for name in names if "delivery" not in name}


def both(*months: str) -> set[str]:
    return {f"{family}-{month}" for month in months for family in ("audit", "content")}


async def test_a_month_stays_while_anything_of_it_is_held_or_waits(aged: Line):
    holds, now = Holds(Governor(aged.engine)), this_month()
    of_a_person = await holds.place(HoldOrder(case_number="17", reason="court", subject="alice"), "cli:me")
    of_a_talk = await holds.place(
        HoldOrder(case_number="18", reason="court", conversation_id="c-bob", until=MONTHS[2]), "cli:me"
    )
    await holds.place(HoldOrder(case_number="19", reason="court", subject="nobody"), "cli:me")
    await aged.outbox.put_back(microseconds(MONTHS[2]), microseconds(MONTHS[2] + timedelta(days=31)))
    async with old_months(aged) as months:
        said = await months.run(dry=True)
        assert said.dropped == [f"attest-delivery-2020.0{month}" for month in (1, 2, 3)]
        assert said.held == [f"attest-{family}-2020.0{month}" for month in (1, 2) for family in ("audit", "content")]
        assert said.undelivered == ["attest-audit-2020.03", "attest-content-2020.03"]
        assert await months.run() == said
        assert evidence(aged) == both("2020.01", "2020.02", "2020.03", now)
        await holds.release(of_a_talk.hold_id, "cli:me")
        await drain(aged)
        assert (await months.run()).held == ["attest-audit-2020.01", "attest-content-2020.01"]
        assert evidence(aged) == both("2020.01", now)
        await holds.release(of_a_person.hold_id, "cli:me")
        assert (await months.run()).dropped == ["attest-audit-2020.01", "attest-content-2020.01"]
        assert (await months.run()).dropped == []
    assert evidence(aged) == both(now)
    assert await still_verifies(aged)


async def still_verifies(line: Line) -> bool:
    """Whether the store passes its verification: months that are gone are expired, not missing."""
    await drain(line)
    summary, found = await verified(line, KEEP)
    return summary.ok and not found and summary.expired == 6


async def verified(line: Line, keep: timedelta) -> tuple[StoreSummary, list[Finding]]:
    found: list[Finding] = []
    client = connect(Server((line.server.url,)), identity(line.server, VERIFIER), 30)
    async with closing(client) as verifier:
        return await StoreVerifier(verifier, line.engine, MASTER, found.append, keep).run(), found


async def test_a_month_that_left_before_its_time_is_missing(aged: Line):
    """What is kept is counted from the end of the month, and for as long as the installation says."""
    for name in both("2020.01", "2020.02"):
        aged.server.call("DELETE", f"/attest-{name}")
    since_february = datetime.now(UTC) - MONTHS[2]
    summary, found = await verified(aged, since_february + timedelta(days=1))
    assert (summary.expired, {one.code for one in found}, {one.record for one in found}) == (2, {"missing"}, {2, 3})
    summary, found = await verified(aged, since_february - timedelta(days=1))
    assert (summary.expired, found) == (4, [])


async def test_a_hold_on_a_time_keeps_the_months_that_it_touches(aged: Line):
    order = HoldOrder(case_number="20", reason="court", since=MONTHS[1], until=MONTHS[1] + timedelta(days=25))
    await Holds(Governor(aged.engine)).place(order, "cli:me")
    async with old_months(aged) as months:
        await months.run()
    assert evidence(aged) == both("2020.02", this_month())


async def test_a_month_that_a_policy_manages_is_left_to_it(aged: Line):
    def with_policy(path: str, answer: dict) -> None:
        if "_settings" in path:
            for one in answer.values():
                one["settings"]["index.lifecycle.name"] = "attest"

    async with FaultyProxy(aged.server.url) as proxy, old_months(aged, url=proxy.url) as months:
        proxy.change = with_policy
        said = await months.run()
    assert (said.dropped, len(said.managed)) == ([], 9)
    assert evidence(aged) == both("2020.01", "2020.02", "2020.03", this_month())


async def test_who_may_not_drop_or_is_not_reached_says_so(aged: Line):
    async with old_months(aged, role=WRITER) as months:
        with pytest.raises(AuditUnavailableError, match="403"):
            await months.run()
    async with old_months(aged, url="http://127.0.0.1:1") as months:
        with pytest.raises(AuditUnavailableError, match="did not drop"):
            await months.run()
    assert len(evidence(aged)) == 8
