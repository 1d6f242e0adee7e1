"""A gateway judges by what two people put in force; a turn keeps its policy; what cannot be used stops new turns."""

import pytest
import yaml
from sqlalchemy import update

from gateway.policies import in_force as module
from gateway.policies.in_force import CannotJudgeError, Trouble
from gateway.policies.tables import POLICY_ACTIVATION, POLICY_VERSION
from gateway.problems import PolicyUnavailableError
from safety.policy import DEFAULT_POLICY
from safety.ports import Direction, TurnContext
from tests.contract.policies.test_versions import activated

CARD = "My card is 4111 1111 1111 1111."
ASKED = TurnContext(direction=Direction.INPUT)


def blocking(version: int, action: str = "block") -> str:
    policy = yaml.safe_load(DEFAULT_POLICY.read_text("utf-8")) | {"version": version}
    policy["rules"]["personal_data.bank_card"] = {"input": action}
    return yaml.safe_dump(policy, allow_unicode=True)


async def verdict(judging) -> str:
    return (await judging.safety.examine(CARD, ASKED)).action.value


async def test_a_version_is_taken_over_by_every_gateway_and_kept_over_a_restart(
    gateway, versions, approvals, governance, log, tmp_path
):
    one, other = gateway(), gateway()
    for each in (one, other):
        await each.start()
    begun = one.now
    assert await verdict(begun) == "redact"
    version = await versions.propose(blocking(2), "", "carol")
    await activated(versions, approvals, governance, version)
    assert await verdict(one.now) == "redact"
    for each in (one, other):
        await each.look()
        assert (await verdict(each.now), each.standing.version.title) == ("block", "default 2")
        each.check()
    assert await verdict(begun) == "redact"  # a turn that began before keeps its policy
    assert begun.safety.policy_hash != one.now.safety.policy_hash
    first, second = await log.records("policy.activated")
    assert first.detail == {"name": "default", "version": 1, "previous": ""}
    assert (second.policy_hash, second.detail["previous"]) == (one.now.safety.policy_hash, begun.safety.policy_hash)
    assert (second.detail["requested_by"], second.detail["granted_by"]) == ("carol", "dave")
    file = tmp_path / "file.yaml"
    file.write_text(blocking(9, "flag"), "utf-8")
    again = gateway(policy=file)  # the file was changed meanwhile: what two people agreed to counts
    await again.start()
    assert (await verdict(again.now), again.standing.version.title) == ("block", "default 2")
    assert len(await log.records("policy.activated")) == 2
    listed = {one.title: one.origin.value for one in await versions.listed()}
    assert listed == {"default 1": "file", "default 2": "person", "default 9": "file"}


async def test_what_cannot_be_used_stops_new_turns_and_an_older_version_mends_it(
    gateway, versions, approvals, governance, engine, monkeypatch
):
    here = gateway()
    await here.start()
    version = await versions.propose(blocking(2), "", "carol")
    await activated(versions, approvals, governance, version)
    async with engine.begin() as connection:
        await connection.execute(update(POLICY_VERSION).where(POLICY_VERSION.c.version_id == version.version_id)
                                 .values(text=blocking(2, "allow")))  # fmt: skip
    await here.look()
    with pytest.raises(PolicyUnavailableError):
        here.check()
    assert (here.trouble, await here.ready(), await verdict(here.now)) == (Trouble.ALTERED, False, "redact")
    with pytest.raises(CannotJudgeError, match="altered"):
        await gateway().start()
    third = await versions.propose(blocking(3), "", "carol")
    await activated(versions, approvals, governance, third)
    await here.look()
    here.check()
    assert await verdict(here.now) == "block"

    monkeypatch.setattr(here.layers.__class__, "over", lambda *_: 1 / 0)
    fourth = await versions.propose(blocking(4), "", "carol")
    await activated(versions, approvals, governance, fourth)
    with pytest.raises(ZeroDivisionError):  # a fault of our own: the loop tells it, and nothing is taken for looked at
        await here.look()
    monkeypatch.setattr(here.layers.__class__, "over", refusing)
    await here.look()
    assert here.trouble is Trouble.UNUSABLE
    monkeypatch.undo()
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    await here.look()
    assert (here.trouble, here.standing.version.title) == (None, "default 4")


def refusing(*_):
    raise ValueError("this machine cannot")


async def test_without_a_look_for_a_minute_no_turn_begins(gateway, monkeypatch):
    here = gateway()
    await here.start()
    here.check()
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 61)
    assert here.trouble is Trouble.STALE
    with pytest.raises(PolicyUnavailableError):
        here.check()
    await here.look()
    here.check()


async def test_an_activation_that_names_another_text_is_not_used(gateway, versions, approvals, governance, engine):
    here = gateway()
    await here.start()
    version = await versions.propose(blocking(2), "", "carol")
    await activated(versions, approvals, governance, version)
    async with engine.begin() as connection:
        await connection.execute(update(POLICY_ACTIVATION).values(text_hash="0" * 64))
    await here.look()
    assert here.trouble is Trouble.ALTERED
