from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from tests.rig.postgres import fresh_database, postgres_url


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    with postgres_url() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path) -> Iterator[str]:
    """URL of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/new/attest.db"
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        yield url
