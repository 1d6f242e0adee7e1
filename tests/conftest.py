"""Fixtures for every kind of test: the real product, started once for all tests of a session that only talk to it."""

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from migrations.run import upgrade
from tests.rig.databases import migrated_file
from tests.rig.early import EarlyServers
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


SERVERS = {"postgres": postgres_url, "real_keycloak": keycloak, "elastic_server": elasticsearch}
"""Fixture of each real server that all tests of a session share, and what starts it."""

# The many processes that tests start share what the first of them compiled: half of a gateway's start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

EARLY = pytest.StashKey[EarlyServers]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the servers that chosen tests name beside the tests that come first.

    Not in a process of several (pytest-xdist): it does not know yet which tests will be its own.
    """
    # As the gateway does after its start: a full collection that looks at thousands of tests stops a loop for 0.5 s.
    gc.collect()
    gc.freeze()
    servers = session.config.stash[EARLY] = EarlyServers()
    named = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if not session.config.option.collectonly and not hasattr(session.config, "workerinput"):
        for name, start in SERVERS.items():
            if name in named:
                servers.begin(name, start())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what was started, however the session ended."""
    if servers := config.stash.get(EARLY, None):
        servers.close()


@pytest.fixture(scope="session")
def elastic_server(pytestconfig: pytest.Config) -> ElasticsearchServer:
    """A real Elasticsearch that all tests of a session share: clear it first (`elastic_server.clear()`)."""
    return pytestconfig.stash[EARLY].get("elastic_server", elasticsearch())


@pytest.fixture(scope="session")
def real_keycloak(pytestconfig: pytest.Config) -> Keycloak:
    """A real Keycloak that all tests of a session share; its client allows one gateway's address at a time."""
    return pytestconfig.stash[EARLY].get("real_keycloak", keycloak())


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> URL:
    """A real PostgreSQL that all tests of a session share: make a database of your own (`fresh_database`)."""
    return pytestconfig.stash[EARLY].get("postgres", postgres_url())


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
