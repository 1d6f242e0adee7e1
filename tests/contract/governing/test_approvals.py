"""Four eyes: another person decides, once, in time; both sides are records."""

from datetime import timedelta

import pytest

from audit.approval import SERVICE, Action, Approvals, Decision
from audit.governing import GoverningError

WHAT = {"subject": "alice", "case_number": "GDPR-4"}


@pytest.fixture
def approvals(governor) -> Approvals:
    return Approvals(governor)


async def test_another_person_grants(log, approvals):
    asked = await approvals.request(Action.ERASE, WHAT, "cli:carol")
    assert await approvals.listed() == (asked,)
    granted = await approvals.decide(asked.approval_id, Decision.APPROVED, "cli:dave")
    assert (granted.decision, granted.decided_by, granted.arguments) == ("approved", "cli:dave", WHAT)
    assert await approvals.listed() == ()
    assert await approvals.listed(decided=True) == (granted,)
    first, second = await log.records("approval.requested", "approval.decided")
    assert (first.subject, first.detail) == (
        "cli:carol",
        {"approval_id": asked.approval_id, "action": "erase", **WHAT},
    )
    assert (second.subject, second.detail["decision"], second.detail["requested_by"]) == (
        "cli:dave",
        "approved",
        "cli:carol",
    )
    assert await log.flaws() == []


async def test_nobody_grants_what_they_asked_for(log, approvals):
    asked = await approvals.request(Action.ERASE, WHAT, "cli:carol")
    for decision in Decision:
        with pytest.raises(GoverningError, match="somebody else"):
            await approvals.decide(asked.approval_id, decision, "cli:carol")
    assert await approvals.listed() == (asked,)
    assert await log.records("approval.decided") == []


async def test_a_key_is_no_person(log, approvals):
    with pytest.raises(GoverningError, match="no person"):
        await approvals.request(Action.ERASE, WHAT, f"{SERVICE}9f2c41d07ab3")
    asked = await approvals.request(Action.ERASE, WHAT, "cli:carol")
    for decision in Decision:
        with pytest.raises(GoverningError, match="no person"):
            await approvals.decide(asked.approval_id, decision, f"{SERVICE}9f2c41d07ab3")
    assert await approvals.listed() == (asked,)
    assert await log.records("approval.decided") == []


async def test_it_is_decided_once_and_only_what_was_asked(log, approvals):
    asked = await approvals.request(Action.HOLD_RELEASE, {"hold_id": "h"}, "cli:carol")
    await approvals.decide(asked.approval_id, Decision.REFUSED, "cli:dave")
    for approval in (asked.approval_id, "another"):
        with pytest.raises(GoverningError, match=r"no (such )?request"):
            await approvals.decide(approval, Decision.APPROVED, "cli:erin")
    with pytest.raises(GoverningError, match="too long"):
        await approvals.request(Action.ERASE, {"subject": "x" * 20_000}, "cli:carol")


async def test_it_expires(log, governor):
    approvals = Approvals(governor, timedelta(0))
    asked = await approvals.request(Action.ERASE, WHAT, "cli:carol")
    assert await approvals.listed() == ()
    with pytest.raises(GoverningError, match="expired"):
        await approvals.decide(asked.approval_id, Decision.APPROVED, "cli:dave")


async def test_a_grant_to_read_is_for_who_asked_and_for_that_case_alone(log, governor, approvals):
    case = {"case_number": "2026-17"}
    asked = await approvals.request(Action.CONTENT, case, "carol")
    assert await approvals.granted(Action.CONTENT, "carol", case) is None
    granted = await approvals.decide(asked.approval_id, Decision.APPROVED, "dave")
    assert await approvals.granted(Action.CONTENT, "carol", case) == granted
    for action, by, arguments in (
        (Action.CONTENT, "dave", case),
        (Action.CONTENT, "carol", {"case_number": "2026-18"}),
        (Action.ERASE, "carol", case),
    ):
        assert await approvals.granted(action, by, arguments) is None
    brief = Approvals(governor, timedelta(0))
    asked = await approvals.request(Action.CONTENT, {"case_number": "3"}, "carol")
    await brief.decide(asked.approval_id, Decision.APPROVED, "dave")
    assert await approvals.granted(Action.CONTENT, "carol", {"case_number": "3"}) is None


async def test_a_decision_and_what_it_does_stand_together(log, governor, approvals):
    asked = await approvals.request(Action.ERASE, WHAT, "cli:carol")

    async def decide_and_fail() -> None:
        async with governor.transaction() as connection:
            await approvals.decide(asked.approval_id, Decision.APPROVED, "cli:dave", connection)
            raise GoverningError("what was granted cannot be done")

    with pytest.raises(GoverningError, match="cannot be done"):
        await decide_and_fail()
    assert await approvals.listed() == (asked,)
    assert await log.records("approval.decided") == []
