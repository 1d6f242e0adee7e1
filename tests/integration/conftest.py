from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.databases import migrated


@pytest.fixture
def postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database on a real PostgreSQL server, at the newest migration; its address."""
    with migrated(request, "postgresql", tmp_path) as url:
        yield url
