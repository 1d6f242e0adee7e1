"""`attest audit bootstrap | dead-letters | redeliver`, as an operator calls them."""

import json
import subprocess
import sys
from pathlib import Path

from migrations.run import upgrade
from tests.contract.audit.turns import accepted, completed
from tests.integration.elastic.conftest import Line, closing, line_on
from tests.rig.elasticsearch import ElasticsearchServer
from tests.rig.faulty_proxy import FaultyProxy
from tests.rig.product import ROOT


def attest(folder: Path, server: ElasticsearchServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin", "ATTEST_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/attest.db",
        "ATTEST_DATA_DIR": str(folder), "ATTEST_ELASTICSEARCH_URL": server.url,
        "ATTEST_ELASTICSEARCH_BOOTSTRAP": server.login("attest_bootstrap"),
    }  # fmt: skip
    command = [sys.executable, "-m", "gateway", "audit", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)


async def test_an_operator_prepares_sees_and_retries(tmp_path: Path, elastic_server: ElasticsearchServer):
    elastic_server.clear()
    upgrade(f"sqlite+aiosqlite:///{tmp_path}/attest.db")
    done = attest(tmp_path, elastic_server, "bootstrap", "--months", "1", "--json")
    steps = json.loads(done.stdout)
    assert {step["state"] for step in steps if step["what"] == "index"} == {"made"}
    assert done.returncode == (3 if any(step["state"] == "refused" for step in steps) else 0)

    async with line_on(f"sqlite+aiosqlite:///{tmp_path}/attest.db", elastic_server, tmp_path) as line:
        await refused(line)
        listed = json.loads(attest(tmp_path, elastic_server, "dead-letters", "list", "--json").stdout)
        assert [(one["leaf_index"], one["reason"]) for one in listed] == [(0, "document_parsing_exception 400")]
        shown = attest(tmp_path, elastic_server, "dead-letters", "list").stdout
        assert listed[0]["entry_id"] in shown
        assert attest(tmp_path, elastic_server, "dead-letters", "retry").returncode == 2
        retried = attest(tmp_path, elastic_server, "dead-letters", "retry", listed[0]["entry_id"])
        assert retried.stdout.startswith("1 dead letters")
        async with closing(line.delivery()) as delivery:
            await delivery.drain()
        assert attest(tmp_path, elastic_server, "redeliver", "--since", "1d").stdout.startswith("2 records")
        async with closing(line.delivery()) as delivery:
            await delivery.drain()
        assert line.watch.counts == {"refused": 1, "created": 2, "present": 2}


async def refused(line: Line) -> None:
    await line.append(accepted("t1"), completed("x", "t1"))
    error = {"create": {"status": 400, "error": {"type": "document_parsing_exception", "reason": "words"}}}
    async with FaultyProxy(line.server.url) as proxy, closing(line.delivery(proxy.url)) as delivery:
        proxy.spoil = lambda _, item: error if item["event"].get("sequence") == 0 else None
        await delivery.drain()


def test_a_server_that_is_gone_is_said_to_be(tmp_path: Path):
    upgrade(f"sqlite+aiosqlite:///{tmp_path}/attest.db")
    done = attest(tmp_path, ElasticsearchServer("http://127.0.0.1:9"), "bootstrap")
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_roles_and_dashboards_are_written_without_any_server(tmp_path: Path):
    roles, objects = tmp_path / "roles.yml", tmp_path / "attest.ndjson"
    server = ElasticsearchServer("http://127.0.0.1:9")
    done = attest(tmp_path, server, "bootstrap", "--roles-file", str(roles), "--kibana-file", str(objects))
    assert done.returncode == 0
    assert "attest_writer:" in roles.read_text()
    assert {json.loads(line)["type"] for line in objects.read_text().splitlines()} == {
        *("index-pattern", "search", "lens", "dashboard"),
    }
