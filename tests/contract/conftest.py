"""Every contract test runs on an empty database of either kind, on the newest schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrations.run import upgrade
from tests.rig.postgres import fresh_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty, migrated database; every contract test runs on both."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/attest.db"
        upgrade(url)
        yield url
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        upgrade(url)
        yield url
