"""Fixtures for every kind of test: the real product, started once for all tests of a session that only talk to it."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from migrations.run import upgrade
from tests.rig.databases import migrated_file
from tests.rig.elasticsearch import ElasticsearchServer, elasticsearch
from tests.rig.keycloak import Keycloak, keycloak
from tests.rig.postgres import fresh_database, postgres_url
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


@pytest.fixture(scope="session")
def real_keycloak() -> Iterator[Keycloak]:
    """A real Keycloak that all tests of a session share; its client allows one gateway's address at a time."""
    with keycloak() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """A real PostgreSQL that all tests of a session share: make a database of your own (`fresh_database`)."""
    with postgres_url() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An SQLite file on the newest schema, only to be copied."""
    return migrated_file(tmp_path_factory.mktemp("migrated"))


@pytest.fixture(scope="session")
def migrated_postgresql(postgres: URL) -> Iterator[str]:
    """A database in PostgreSQL on the newest schema, only to be copied."""
    with fresh_database(postgres) as url:
        upgrade(url)
        yield url
