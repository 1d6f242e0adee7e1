"""Two officers decide at the same moment, each with a connection of their own: exactly one decision counts."""

import asyncio

import pytest

from audit.approval import Action, Approvals, Decision
from audit.governing import GoverningError, Governor
from audit.hold import HoldOrder, Holds
from gateway.database import make_engine


async def _deciding(database: str, approval_id: str, decision: Decision, by: str) -> str:
    engine = make_engine(database)
    try:
        return (await Approvals(Governor(engine)).decide(approval_id, decision, by)).decided_by
    except GoverningError as error:
        return str(error)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("second", list(Decision))
async def test_exactly_one_of_several_decisions_counts(database, log, governor, second):
    approvals = Approvals(governor)
    asked = await approvals.request(Action.CONTENT, {"case_number": "C-1"}, "carol")
    said = await asyncio.gather(
        *(_deciding(database, asked.approval_id, second if n % 2 else Decision.APPROVED, f"dave{n}") for n in range(6))
    )
    heard = [one for one in said if one.startswith("dave")]
    assert len(heard) == 1
    assert all("no request" in one for one in said if one not in heard)
    (kept,) = await approvals.listed(decided=True)
    (record,) = await log.records("approval.decided")
    assert (kept.decided_by, record.subject) == (heard[0], heard[0])
    assert record.detail["decision"] == kept.decision
    assert await log.flaws() == []


async def test_what_is_granted_twice_at_once_is_done_once(database, log, governor):
    holds, approvals = Holds(governor), Approvals(governor)
    hold = await holds.place(HoldOrder(case_number="C-1", reason="suit", subject="alice"), "carol")
    asked = await approvals.request(Action.HOLD_RELEASE, {"hold_id": hold.hold_id}, "carol")

    async def grant(by: str) -> bool:
        engine = make_engine(database)
        own = Governor(engine)
        try:
            async with own.transaction() as connection:
                await Approvals(own).decide(asked.approval_id, Decision.APPROVED, by, connection)
                await Holds(own).release(hold.hold_id, "carol", connection)
        except GoverningError:
            return False
        finally:
            await engine.dispose()
        return True

    assert sorted(await asyncio.gather(grant("dave"), grant("erin"))) == [False, True]
    assert len(await log.records("hold.released")) == len(await log.records("approval.decided")) == 1
