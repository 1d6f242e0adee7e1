"""Fixtures for every kind of test: the real product, started once for all tests of a session that only talk to it."""

from collections.abc import Iterator

import pytest

from tests.rig.elasticsearch import ElasticsearchServer, elasticsearch
from tests.rig.product import Product, running_product
from tests.scripts import SCRIPT


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product on the scripted engine and SQLite."""
    with running_product(tmp_path_factory.mktemp("product"), SCRIPT) as running:
        yield running


@pytest.fixture(scope="session")
def elastic_server() -> Iterator[ElasticsearchServer]:
    """A real Elasticsearch that all tests of a session share: clear it first (`elastic_server.clear()`)."""
    with elasticsearch() as server:
        yield server
