"""Bootstrap on a server with lifecycle policies: months age from their ends, and the policy drops every one of them.

The test distribution has no such policies: between it and the client the test plays them, and keeps what they are told.
"""

import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from audit.elastic.bootstrap import State, Step, lifecycle_policy
from audit.elastic.families import FAMILIES
from tests.integration.elastic.conftest import prepare
from tests.rig.elasticsearch import ElasticsearchServer
from tests.rig.faulty_proxy import FaultyProxy

MONTHS = (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
ENDS = (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
AGED_FROM = "index.lifecycle.origination_date"


@dataclass
class Lifecycles:
    """A server's lifecycle policies, and which template and index is under which."""

    url: str = ""
    policies: dict[str, Any] = field(default_factory=dict)
    templates: dict[str, Any] = field(default_factory=dict)
    """Template → what it says of lifecycles."""
    aged_from: dict[str, datetime] = field(default_factory=dict)
    """Index → from when on its age counts."""

    def stand(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]] | bytes:
        """Answer for the policies; take what the real server does not know out of what it gets."""
        name = path.rpartition("/")[2]
        told = msgspec.json.decode(body) if body else {}
        if path.startswith("/_ilm/policy/"):
            return self._policy(method, name, told)
        if method != "PUT" or not path.startswith(("/_index_template/", "/attest-")):
            return body
        if path.startswith("/_index_template/"):
            self.templates[name] = told["template"]["settings"]["index"].pop("lifecycle", None)
        elif AGED_FROM in told.get("settings", {}):
            self.aged_from[name] = datetime.fromtimestamp(told["settings"].pop(AGED_FROM) / 1000, UTC)
        return msgspec.json.encode(told)

    def _policy(self, method: str, name: str, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if method == "PUT":
            self.policies[name] = told
            return 200, {"acknowledged": True}
        if name not in self.policies:
            return 404, {"error": {"type": "resource_not_found_exception"}, "status": 404}
        return 200, {name: {"version": 1, "modified_date": "2026-11-01T00:00:00.000Z", **self.policies[name]}}


@pytest.fixture
async def lives(elastic_server: ElasticsearchServer) -> AsyncIterator[Lifecycles]:
    elastic_server.clear()
    lives = Lifecycles()
    async with FaultyProxy(elastic_server.url) as proxy:
        proxy.stand = lives.stand
        lives.url = proxy.url
        yield lives


async def test_every_month_is_under_the_policy_and_ages_from_its_end(
    elastic_server: ElasticsearchServer, lives: Lifecycles
):
    steps = await prepare(elastic_server, *MONTHS, url=lives.url)
    assert policy_of(steps).state is State.MADE
    assert lives.policies == {"attest": lifecycle_policy(215)}
    assert lives.templates == {family.name: {"name": "attest"} for family in FAMILIES}
    assert lives.aged_from == {
        family.index(month): end for month, end in zip(MONTHS, ENDS, strict=True) for family in FAMILIES
    }
    told = copy.deepcopy(lives)
    again = await prepare(elastic_server, *MONTHS, url=lives.url)
    assert {step.state for step in again if step.what != "role"} == {State.THERE}
    assert (lives.policies, lives.templates) == (told.policies, told.templates)


async def test_another_time_to_keep_changes_the_policy(elastic_server: ElasticsearchServer, lives: Lifecycles):
    await prepare(elastic_server, MONTHS[0], url=lives.url)
    steps = await prepare(elastic_server, MONTHS[0], url=lives.url, keep_days=400)
    assert policy_of(steps).state is State.UPDATED
    assert lives.policies["attest"]["policy"]["phases"]["delete"]["min_age"] == "400d"


async def test_a_server_that_gets_policies_gets_them_into_its_templates(
    elastic_server: ElasticsearchServer, lives: Lifecycles
):
    """As after a change of the distribution: the templates of before know of no policy."""
    await prepare(elastic_server, MONTHS[0])
    steps = await prepare(elastic_server, *MONTHS, url=lives.url)
    assert {step.state for step in steps if step.what == "template"} == {State.UPDATED}
    assert lives.templates == {family.name: {"name": "attest"} for family in FAMILIES}


def policy_of(steps: tuple[Step, ...]) -> Step:
    (policy,) = [step for step in steps if step.what == "lifecycle policy"]
    return policy
