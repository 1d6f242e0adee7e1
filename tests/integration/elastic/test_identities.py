"""Each identity may do its job on a real server and is refused everything else."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from audit.elastic.roles import BOOTSTRAP, COMPLIANCE, ERASER, RETENTION, ROLES, SECURITY, VERIFIER, WRITER
from tests.integration.elastic.conftest import prepare
from tests.rig.elasticsearch import ElasticsearchServer

MONTH = datetime(2026, 11, 1, tzinfo=UTC)
AUDIT, CONTENT, DELIVERY = "attest-audit-2026.11", "attest-content-2026.11", "attest-delivery-2026.11"
DOCUMENT = {"@timestamp": "2026-11-01T00:00:00Z"}
ELSEWHERE = "somebody-elses"


def bulk(action: str, index: str, name: str, body: object = DOCUMENT) -> str:
    lines = [json.dumps({action: {"_index": index, "_id": name}})]
    if action != "delete":
        lines.append(json.dumps({"doc": body} if action == "update" else body))
    return "\n".join(lines) + "\n"


Deed = Callable[[ElasticsearchServer, str], int]


def call(method: str, path: str, body: object = None) -> Deed:
    return lambda server, user: server.status(method, path, body, user)


def sent(action: str, index: str, name: str = "there") -> Deed:
    def send(server: ElasticsearchServer, user: str) -> int:
        body = bulk(action, index, name)
        if (whole := server.status("POST", "/_bulk", body, user)) != 200:
            return whole
        item = server.call("POST", "/_bulk", bulk(action, index, name + "2" if action == "create" else name), user)
        return int(item["items"][0][action]["status"])

    return send


DEEDS: dict[str, Deed] = {
    **{f"create in {index}": sent("create", index, "new") for index in (AUDIT, CONTENT, DELIVERY)},
    **{f"overwrite in {index}": sent("index", index) for index in (AUDIT, CONTENT, DELIVERY)},
    **{f"update in {index}": sent("update", index) for index in (AUDIT, CONTENT, DELIVERY)},
    **{f"delete in {index}": sent("delete", index) for index in (AUDIT, CONTENT, DELIVERY)},
    **{f"search {index}": call("POST", f"/{index}/_search", {}) for index in (AUDIT, CONTENT, DELIVERY)},
    **{f"get from {index}": call("GET", f"/{index}/_doc/there") for index in (AUDIT, CONTENT, DELIVERY)},
    **{f"scan {index}": call("POST", f"/{index}/_pit?keep_alive=1m") for index in (AUDIT, CONTENT, DELIVERY)},
    **{f"mapping of {index}": call("GET", f"/{index}/_mapping") for index in (AUDIT, CONTENT, DELIVERY)},
    "create by naming a new index": sent("create", "attest-audit-1999.01", "new"),
    "create elsewhere": sent("create", ELSEWHERE, "new"),
    "search elsewhere": call("POST", f"/{ELSEWHERE}/_search", {}),
    "make an index": call("PUT", "/attest-audit-1998.01"),
    "make an index elsewhere": call("PUT", "/others-1998.01"),
    "change a mapping": call("PUT", f"/{AUDIT}/_mapping", {"_meta": {"attest_version": 1}}),
    "change settings": call("PUT", f"/{AUDIT}/_settings", {"index": {"refresh_interval": "5s"}}),
    "close an index": call("POST", f"/{AUDIT}/_close"),
    "drop an index": call("DELETE", "/attest-audit-1997.01"),
    "drop an index elsewhere": call("DELETE", f"/{ELSEWHERE}"),
    "make a template": call(
        "PUT", "/_index_template/attest-none", {"index_patterns": ["attest-none-*"], "priority": 1}
    ),
    "read roles": call("GET", "/_security/role"),
    "set cluster settings": call("PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": None}}),
    "make a pipeline": call("PUT", "/_ingest/pipeline/attest-none", {"processors": []}),
    "make an API key": call("POST", "/_security/api_key", {"name": "attest-none"}),
    "make a user": call("PUT", "/_security/user/attest-none", {"password": "long-enough-1", "roles": []}),
    "register snapshots": call("PUT", "/_snapshot/attest-none", {"type": "fs", "settings": {"location": "none"}}),
    "take a snapshot": call("PUT", "/_snapshot/attest-none/one"),
    "read the nodes": call("GET", "/_nodes"),
    "refresh texts": call("POST", f"/{CONTENT}/_refresh"),
}


def on(what: str, *indices: str) -> set[str]:
    return {f"{what} {index}" for index in indices}


READS = ("search", "get from", "scan", "mapping of")
MAY: dict[str, set[str]] = {
    BOOTSTRAP: {"make an index", "change a mapping", "make a template", "read roles"}
    | {"read the nodes", "make an API key", "make a user"}  # as `monitor` and `manage_security` let it
    | on("mapping of", AUDIT, CONTENT, DELIVERY),
    WRITER: on("create in", AUDIT, CONTENT, DELIVERY),
    VERIFIER: {deed for what in READS for deed in on(what, AUDIT, CONTENT)},
    COMPLIANCE: {deed for what in READS for deed in on(what, AUDIT, CONTENT, DELIVERY)},
    SECURITY: {deed for what in READS for deed in on(what, AUDIT, DELIVERY)},
    ERASER: {deed for what in READS for deed in on(what, CONTENT)} | {f"delete in {CONTENT}", "refresh texts"},
    RETENTION: {"drop an index"} | on("mapping of", AUDIT, CONTENT, DELIVERY),
}


@pytest.fixture
async def server(elastic_server: ElasticsearchServer) -> ElasticsearchServer:
    elastic_server.clear()
    await prepare(elastic_server, MONTH)
    for index in (AUDIT, CONTENT, DELIVERY):
        elastic_server.call("PUT", f"/{index}/_create/there", DOCUMENT)
    elastic_server.call("PUT", "/attest-audit-1997.01")
    if elastic_server.status("GET", f"/{ELSEWHERE}") != 200:
        elastic_server.call("PUT", f"/{ELSEWHERE}")
    return elastic_server


def test_every_role_is_tried():
    assert set(MAY) == set(ROLES)
    assert set().union(*MAY.values()) <= set(DEEDS)


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_an_identity_does_its_job_and_nothing_else(server: ElasticsearchServer, role: str):
    user = server.login(role)
    allowed = {name for name, deed in DEEDS.items() if deed(server, user) not in {401, 403}}
    assert allowed == MAY[role]
