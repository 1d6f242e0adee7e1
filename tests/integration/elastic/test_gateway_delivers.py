"""The running product delivers what happened in it, by itself, and says in its metrics how far it is."""

import asyncio
import urllib.request
from pathlib import Path

import pytest

from tests.integration.client import by_api
from tests.integration.elastic.conftest import prepare
from tests.rig.elasticsearch import ElasticsearchServer
from tests.rig.product import eventually, running_product
from tests.scripts import SCRIPT


@pytest.mark.slow
def test_a_turn_of_the_product_is_found_in_elasticsearch(tmp_path: Path, elastic_server: ElasticsearchServer):
    elastic_server.clear()
    asyncio.run(prepare(elastic_server))
    (tmp_path / "login").write_text(elastic_server.login("attest_writer"))
    settings = {
        "ATTEST_ELASTICSEARCH_URL": elastic_server.url,
        "ATTEST_ELASTICSEARCH_WRITER": f"file:{tmp_path}/login",
    }
    with running_product(tmp_path, SCRIPT, **settings) as product:
        outcome = by_api(product, "请回答 PLAIN-ZH")

        def closed() -> list[dict]:
            query = {"query": {"match_phrase": {"attest.search": "一份简短的报告"}}}
            elastic_server.call("POST", "/attest-content-*/_refresh")
            hits = elastic_server.call("POST", "/attest-content-*/_search", query)["hits"]["hits"]
            turns = [hit["_source"]["attest"]["turn"] for hit in hits]
            return [turn for turn in turns if turn.get("state") == "closed"]

        (turn,) = eventually(closed, 60)  # type: ignore[misc]
        assert (turn["id"], turn["closing_kind"]) == (outcome.turn_id, "turn.completed")
        with urllib.request.urlopen(f"{product.url}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        assert 'attest_delivery_records_total{fate="created"}' in metrics
        assert "attest_delivery_dead_letters 0.0" in metrics
        assert "一份简短的报告" not in product.logs()
        assert elastic_server.login("attest_writer").partition(":")[2] not in product.logs()
