"""PostgreSQL is gone: every address says so, in the shape that its client reads, and nobody is led to the sign-in."""

from collections.abc import Iterator

import httpx
import pytest

from tests.rig.postgres import fresh_database, own_postgres
from tests.rig.product import Product, running_product
from tests.scripts import SCRIPT

GONE = "urn:attest:problem:database-unavailable"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, str]]:
    """A gateway that lost its database, and the token of a key that it knows."""
    with own_postgres() as server, fresh_database(server.url) as url:
        settings = {"ATTEST_DATABASE_URL": url, "ATTEST_ACCESS_CHECK_S": "600"}
        with running_product(tmp_path_factory.mktemp("gone"), SCRIPT, **settings) as product:
            made = product.attest("api-keys", "create", "program", "--role", "staff")
            token = made.strip().splitlines()[-1].split()[0]
            answer = httpx.get(f"{product.url}/chat/conversations", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 200
            server.stop()
            yield product, token
            server.start()


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/chat/conversations"), ("GET", "/chat/conversations"), ("GET", "/usage.csv")]
)
def test_who_asks_by_program_gets_a_problem(alone: tuple[Product, str], method: str, path: str):
    product, token = alone
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = httpx.request(method, product.url + path, headers=headers, content="{}" if method == "POST" else None)
    assert answer.status_code == 503
    assert answer.json()["type"] == GONE
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("path", ["/", "/c/0199aaaa-0000-7000-8000-000000000000", "/usage", "/auth/login"])
@pytest.mark.parametrize(("language", "words"), [("en", "database does not answer"), ("zh-CN", "数据库")])
def test_who_is_signed_in_gets_a_page(alone: tuple[Product, str], path: str, language: str, words: str):
    product, _ = alone
    headers = {"cookie": f"attest={'A' * 43}", "accept": "text/html", "accept-language": language}
    answer = httpx.get(product.url + path, headers=headers, follow_redirects=False)
    assert answer.status_code == 503
    assert words in answer.text
    assert "retry-after" in answer.headers


def test_nobody_signed_in_is_led_to_the_sign_in_as_ever(alone: tuple[Product, str]):
    product, _ = alone
    answer = httpx.get(f"{product.url}/", headers={"accept": "text/html"}, follow_redirects=False)
    assert answer.status_code == 302


def test_it_counts_as_no_fault_of_ours(alone: tuple[Product, str]):
    product, token = alone
    httpx.get(f"{product.url}/chat/conversations", headers={"authorization": f"Bearer {token}"})
    counted = [line for line in httpx.get(f"{product.url}/metrics").text.splitlines() if "attest_faults_total{" in line]
    assert not [line for line in counted if 'where="http"' in line]
    assert '"event": "database.unreachable"' in product.logs()
