"""Each gateway says what it judges by: an activation is seen to reach them all, and who fell silent is seen too."""

import pytest
from sqlalchemy.exc import OperationalError

from audit.governing import now_us
from gateway.policies import gateways as module
from gateway.policies.gateways import AtWork, Gateway, Gateways, Reach, gateways, standings
from gateway.policies.in_force import Trouble
from tests.contract.policies.test_in_force import blocking, refusing
from tests.contract.policies.test_versions import activated

LATER = int(61e6)
"""More than a minute, in microseconds."""


@pytest.fixture
def reach(governor, versions):
    async def reach(after_us: int = 0) -> dict[str, str]:
        """How each gateway stands, by its port."""
        now = await versions.in_force()
        listed = standings(await gateways(governor), now.ordinal if now else 0, now_us() + after_us)
        return {one.gateway.name.rpartition(":")[2]: one.reach.value for one in listed}

    return reach


async def test_an_activation_is_seen_to_reach_every_gateway(
    gateway, versions, approvals, governance, governor, reach, monkeypatch
):
    one, other = gateway(port=8001), gateway(port=8002)
    for each in (one, other):
        await each.start()
    assert await reach() == {"8001": "reached", "8002": "reached"}
    version = await versions.propose(blocking(2), "", "carol")
    await activated(versions, approvals, governance, version)
    await one.look()
    assert await reach() == {"8001": "reached", "8002": "behind"}
    monkeypatch.setattr(other.layers.__class__, "over", refusing)
    await other.look()
    assert await reach() == {"8001": "reached", "8002": "trouble"}
    assert [each.trouble for each in await gateways(governor)] == ["", Trouble.UNUSABLE.value]
    monkeypatch.undo()
    monkeypatch.setattr("gateway.policies.in_force.AGAIN_S", 0.0)
    await other.look()
    first, second = await gateways(governor)
    assert (first.version_id, first.policy_hash, first.ordinal) == (version.version_id, one.now.safety.policy_hash, 1)
    assert (second.policy_hash, second.gateway_id) == (first.policy_hash, other.gateway_id)
    assert await reach(LATER) == {"8001": "silent", "8002": "silent"}


async def test_what_is_said_is_written_when_it_changes_and_now_and_then(gateway, governor, monkeypatch):
    here = gateway()
    await here.start()
    [said] = await gateways(governor)
    await here.look()
    assert await gateways(governor) == (said,)
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.TOLD_EVERY_S)
    await here.look()
    [again] = await gateways(governor)
    assert (again.gateway_id, again.since_us) == (said.gateway_id, said.since_us)
    assert again.seen_us > said.seen_us


async def test_a_gateway_that_was_killed_makes_way_for_its_successor_and_is_forgotten_in_a_day(
    gateway, reach, monkeypatch
):
    for port in (8001, 8002):
        await gateway(port=port).start()
    began = now_us()
    monkeypatch.setattr(module, "now_us", lambda: began + LATER)
    await gateway(port=8002).start()
    assert await reach(LATER) == {"8001": "silent", "8002": "reached"}
    next_day = int(module.FORGOTTEN_S * 1e6) + 2 * LATER
    monkeypatch.setattr(module, "now_us", lambda: began + next_day)
    await gateway(port=8003).start()
    assert await reach(next_day) == {"8003": "reached"}


async def test_a_gateway_that_ends_in_good_order_leaves_the_list(governor, reach):
    here = Gateways(governor, 8001)
    await here.tell(AtWork("v", "a" * 64, 0))
    assert await reach() == {"8001": "reached"}
    await here.leave()
    assert await reach() == {}


async def test_that_it_cannot_be_said_stops_no_turn(gateway, monkeypatch):
    here = gateway()

    async def gone(*_):
        raise OperationalError("UPDATE", {}, OSError("the disk is full"))

    monkeypatch.setattr("gateway.policies.gateways.Gateways.tell", gone)
    await here.start()
    await here.look()
    here.check()


def said(name: str, **fields: object) -> Gateway:
    values = {"version_id": "v", "policy_hash": "a", "ordinal": 1, "trouble": "", "since_us": 0, "seen_us": LATER}
    return Gateway(**{"gateway_id": name, "name": name, **values, **fields})  # type: ignore[arg-type]


def test_of_one_version_the_hash_of_most_counts():
    listed = (said("a"), said("b", policy_hash="b"), said("c"), said("d", ordinal=0), said("e", trouble="altered"))
    listed += (said("f", seen_us=1),)
    found = [one.reach for one in standings(listed, 1, LATER + 1)]
    assert found == [Reach.REACHED, Reach.DIFFERS, Reach.REACHED, Reach.BEHIND, Reach.TROUBLE, Reach.SILENT]
    assert standings((), 0, 0) == ()
