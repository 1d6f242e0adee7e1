"""The whole product on PostgreSQL and Redis, as in production: the same turn, the same records, shared limits."""

import json
import urllib.error
from pathlib import Path

import pytest

from tests.integration.client import by_api, by_page, post
from tests.integration.nul import faults
from tests.rig.postgres import fresh_database, own_postgres
from tests.rig.product import Product, running_product
from tests.rig.redis import own_redis
from tests.scripts import SCRIPT


def ask_until_refused(product: Product) -> None:
    """Ask more than is allowed: on a slow machine turns come back meanwhile."""
    for _ in range(10):
        post(product, "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}).close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_product_on_postgresql_and_redis(tmp_path: Path):
    with own_postgres() as server, own_redis() as redis, fresh_database(server.url) as database:
        settings = {"ATTEST_DATABASE_URL": database, "ATTEST_REDIS_URL": redis.url}
        with running_product(
            tmp_path, SCRIPT, ATTEST_RATE_PER_MINUTE="2", ATTEST_RATE_BURST="3", **settings
        ) as product:
            outcomes = [by_api(product, "Please show the CARD."), by_page(product, "Please show the CARD.")]
            assert outcomes[0].verdict == outcomes[1].verdict
            assert product.show(outcomes[0].turn_id)["delivered"] == outcomes[0].text
            assert by_api(product, "请回答 PLAIN-ZH").outcome == "completed"
            broken, asked = faults(product)
            assert (broken, asked > 300) == ([], True)
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask_until_refused(product)
            with refused.value:
                assert refused.value.code == 429
            assert not (product.data_dir / "attest.db").exists()
            redis.stop()
            with pytest.raises(urllib.error.HTTPError) as closed:
                post(product, "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})
            with closed.value:
                assert json.loads(closed.value.read())["error"]["code"] == "limiter-unavailable"
            listed = json.loads(product.attest("audit", "list", "--json"))
            assert [turn["reason"] for turn in listed][:2] == ["limiter_unavailable", "rate_limited"]
