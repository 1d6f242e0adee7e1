"""Bootstrap on a real server: everything is made once, and a second run changes nothing."""

import copy
from datetime import UTC, datetime

import pytest

from audit.elastic.bootstrap import State, lifecycle_policy
from audit.elastic.comparison import foreign_mappings
from audit.elastic.families import CONTENT, FAMILIES
from audit.elastic.mappings import MAPPINGS
from audit.elastic.roles import VERIFIER
from tests.integration.elastic.conftest import prepare
from tests.rig.elasticsearch import ElasticsearchServer

MONTHS = (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))


@pytest.fixture
def server(elastic_server: ElasticsearchServer) -> ElasticsearchServer:
    elastic_server.clear()
    return elastic_server


async def test_what_is_missing_is_made_and_what_is_there_stays(server: ElasticsearchServer):
    first = await prepare(server, *MONTHS)
    made = [step.name for step in first if step.what == "index"]
    assert made == [family.index(month) for month in MONTHS for family in FAMILIES]
    assert {step.state for step in first if step.what in {"index", "template"}} == {State.MADE}
    again = await prepare(server, *MONTHS)
    assert {step.state for step in again if step.what in {"index", "template"}} == {State.THERE}
    for family in FAMILIES:
        index = family.index(MONTHS[0])
        mapping = server.call("GET", f"/{index}/_mapping")[index]["mappings"]
        assert mapping["dynamic"] == "strict"
        assert mapping["properties"].keys() == MAPPINGS[family.name]["properties"].keys()


async def test_what_the_server_has_not_is_said(server: ElasticsearchServer):
    """The test distribution has no lifecycle policies and cannot keep roles of its own."""
    steps = await prepare(server, *MONTHS)
    (policy,) = [step for step in steps if step.what == "lifecycle policy"]
    assert policy.state is State.ABSENT
    assert "retention run" in policy.detail
    roles = [step for step in steps if step.what == "role"]
    assert roles
    assert all(step.state in {State.MADE, State.THERE} or "--roles-file" in step.detail for step in roles)


async def test_an_older_mapping_is_brought_up_to_date(server: ElasticsearchServer):
    old = {
        "mappings": {
            "dynamic": "strict",
            "_meta": {"attest_version": 0},
            "properties": {"@timestamp": {"type": "date_nanos"}},
        }
    }
    server.call("PUT", "/attest-audit-2026.11", old)
    steps = {step.name: step.state for step in await prepare(server, MONTHS[0])}
    assert steps["attest-audit-2026.11"] is State.UPDATED
    assert (
        "event"
        in server.call("GET", "/attest-audit-2026.11/_mapping")["attest-audit-2026.11"]["mappings"]["properties"]
    )


async def test_a_month_that_was_begun_with_an_older_mapping_goes_on(server: ElasticsearchServer):
    """The first mapping indexed the body of texts, too; a server changes no field that is there."""
    old = copy.deepcopy(MAPPINGS[CONTENT.name]) | {"_meta": {"attest_version": 1}}
    del old["properties"]["attest"]["properties"]["search"]
    old["properties"]["attest"]["properties"]["text"]["properties"]["body"] = {"type": "text", "analyzer": "standard"}
    server.call("PUT", "/attest-content-2026.11", {"mappings": old})
    steps = {step.name: step.state for step in await prepare(server, MONTHS[0])}
    assert steps["attest-content-2026.11"] is State.UPDATED
    mapping = server.call("GET", "/attest-content-2026.11/_mapping")
    assert "search" in mapping["attest-content-2026.11"]["mappings"]["properties"]["attest"]["properties"]
    assert list(foreign_mappings(CONTENT, mapping)) == []


async def test_an_identity_that_may_not_is_told_so(server: ElasticsearchServer):
    steps = await prepare(server, MONTHS[0], role=VERIFIER)
    refused = [step for step in steps if step.what in {"index", "template"}]
    assert refused
    assert all(step.state is State.REFUSED for step in refused)
    assert {step.detail for step in refused} == {"this identity may not make it"}


def test_a_month_is_dropped_only_when_every_record_in_it_may_go():
    phases = lifecycle_policy(215)["policy"]["phases"]
    assert phases["warm"]["actions"]["readonly"] == {}
    assert phases["delete"]["min_age"] == "215d"
