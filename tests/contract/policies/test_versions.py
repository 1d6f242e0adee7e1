"""Versions are proposed by one person and put in force by two; of two decisions at once one counts."""

import asyncio

import pytest
from sqlalchemy import update

from audit.approval import Action, Decision
from audit.governing import GoverningError
from gateway.database import make_engine
from gateway.governance import make_governance
from gateway.policies.tables import POLICY_VERSION
from gateway.settings import load
from safety.policy import DEFAULT_POLICY, PolicyError

TEXT = DEFAULT_POLICY.read_text("utf-8")


def text(version: int, line: str = "") -> str:
    return TEXT.replace("version: 1\n", f"version: {version}\n") + line


async def activated(versions, approvals, governance, version, by="carol", other="dave"):
    asked = await versions.ask(version.version_id, approvals, by)
    return await governance.grant(asked.approval_id, other)


async def test_a_version_comes_into_force_by_two_people_and_an_older_one_again(log, versions, approvals, governance):
    first = await versions.propose(text(2), "stricter <script>alert(1)</script>\x00", "carol")
    assert first.note == "stricter <script>alert(1)</script>\ufffd"
    assert await versions.in_force() is None
    with pytest.raises(GoverningError, match="stands already as default 2, added by carol"):
        await versions.propose(text(2), "", "dave")
    asked = await versions.ask(first.version_id, approvals, "carol")
    assert (await versions.ask(first.version_id, approvals, "carol")).approval_id == asked.approval_id
    with pytest.raises(GoverningError, match="somebody else must"):
        await governance.grant(asked.approval_id, "carol")
    assert await versions.in_force() is None
    await governance.grant(asked.approval_id, "dave")
    now = await versions.in_force()
    assert (now.ordinal, now.version_id, now.requested_by, now.granted_by) == (1, first.version_id, "carol", "dave")
    with pytest.raises(GoverningError, match="is in force"):
        await versions.ask(first.version_id, approvals, "carol")
    second = await versions.propose(text(3), "", "dave")
    await activated(versions, approvals, governance, second, "dave", "carol")
    await activated(versions, approvals, governance, first, "dave", "erin")
    assert [one.version_id for one in await versions.activations()] == [
        first.version_id, second.version_id, first.version_id,
    ]  # fmt: skip
    assert [one.title for one in await versions.listed()] == ["default 3", "default 2"]
    proposed, _ = await log.records("policy.proposed")
    assert (proposed.subject, proposed.policy_hash, proposed.detail["version"]) == ("carol", first.policy_hash, 2)
    assert await log.flaws() == []


async def test_what_cannot_be_used_is_refused_with_every_error(versions, log):
    with pytest.raises(PolicyError) as refused:
        await versions.propose(text(2, "colour: red\ngroups: {a: {failures: {default: allow, x: 1}}}\n"), "", "carol")
    assert len(refused.value.problems) == 2
    with pytest.raises(GoverningError, match="at most 500"):
        await versions.propose(text(2), "x" * 501, "carol")
    assert await versions.listed() == ()
    assert await log.records("policy.proposed") == []


async def test_what_was_asked_before_another_came_into_force_must_be_asked_again(versions, approvals, governance):
    one, other = await versions.propose(text(2), "", "carol"), await versions.propose(text(3), "", "dave")
    asked = await versions.ask(one.version_id, approvals, "carol")
    await activated(versions, approvals, governance, other, "dave", "erin")
    with pytest.raises(GoverningError, match="Another policy came into force"):
        await governance.grant(asked.approval_id, "dave")
    assert (await versions.in_force()).version_id == other.version_id
    assert (await approvals.asked(asked.approval_id)).decision == ""
    assert (await approvals.decide(asked.approval_id, Decision.REFUSED, "dave")).decision == "refused"


async def test_a_text_that_was_changed_behind_the_page_is_never_granted(versions, approvals, governance, engine):
    version = await versions.propose(text(2), "", "carol")
    asked = await versions.ask(version.version_id, approvals, "carol")
    async with engine.begin() as connection:
        await connection.execute(update(POLICY_VERSION).values(text=text(2, "failures: {default: allow}\n")))
    with pytest.raises(GoverningError, match="not the one that was proposed"):
        await governance.grant(asked.approval_id, "dave")
    assert await versions.in_force() is None


async def test_of_decisions_at_once_one_counts(database, versions, approvals, log, tmp_path):
    version = await versions.propose(text(2), "", "carol")
    asked = await versions.ask(version.version_id, approvals, "carol")

    async def decide(by: str, decision: Decision) -> bool:
        engine = make_engine(database)
        own = make_governance(load(data_dir=tmp_path), engine)
        try:
            if decision is Decision.APPROVED:
                await own.grant(asked.approval_id, by)
            else:
                await own.approvals.decide(asked.approval_id, decision, by)
        except GoverningError:
            return False
        finally:
            await own.close()
            await engine.dispose()
        return True

    done = await asyncio.gather(*(decide(f"d{n}", [Decision.APPROVED, Decision.REFUSED][n % 2]) for n in range(4)))
    assert sum(done) == 1
    [decided] = await log.records("approval.decided")
    assert (decided.detail["action"], decided.detail["policy"]) == (Action.POLICY, "default 2")
    assert len(await versions.activations()) == (decided.detail["decision"] == "approved")
