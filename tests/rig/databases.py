"""Databases on the newest schema: migrated once in a session, and copied for each test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from migrations.run import upgrade
from tests.rig.postgres import fresh_database


@contextmanager
def migrated(request: pytest.FixtureRequest, kind: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty database of a kind (`sqlite`, in this folder, or `postgresql`) on the newest schema."""
    like = request.getfixturevalue("migrated_sqlite" if kind == "sqlite" else "migrated_postgresql")
    with copied(request, like, folder) as url:
        yield url


@contextmanager
def copied(request: pytest.FixtureRequest, like: str, folder: Path) -> Iterator[str]:
    """Give the URL of a copy of a database that nobody uses."""
    if make_url(like).get_backend_name() == "sqlite":
        shutil.copy(str(make_url(like).database), folder / "attest.db")
        yield f"sqlite+aiosqlite:///{folder}/attest.db"
        return
    with fresh_database(request.getfixturevalue("postgres"), like) as url:
        yield url


def migrated_file(folder: Path) -> str:
    """Make an SQLite file on the newest schema; return its URL."""
    url = f"sqlite+aiosqlite:///{folder}/attest.db"
    upgrade(url)
    return url
