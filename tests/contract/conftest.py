"""Every contract test runs on an empty database of either kind, on the newest schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.databases import migrated
from tests.rig.disks import SmallDisk, small_disk


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty, migrated database; every contract test runs on both."""
    with migrated(request, request.param, tmp_path) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def small(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A database of either kind whose disk is nearly full."""
    with small_disk(request, request.param) as disk:
        yield disk
