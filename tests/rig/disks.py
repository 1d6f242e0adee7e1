"""A database on a file system of its own that is nearly full, and that a test may give room again."""

import asyncio
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.rig.databases import copied
from tests.rig.postgres import execute, fresh_database
from tests.rig.process import give_to_ordinary_user, unavailable

_SIZE = "48m"
"""Enough for an empty database of PostgreSQL, which has 10 MB."""
_LEFT = 2 * 2**20
"""Bytes that a database may grow until its disk is full."""


class SmallDisk:
    """A database, and the file system that it alone uses."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        """Its URL; it is on the newest schema."""
        self._ballast = folder / "ballast"
        self._ballast.write_bytes(bytes(shutil.disk_usage(folder).free - _LEFT))

    def make_room(self) -> None:
        """Give it many times the room it had."""
        self._ballast.unlink()


@contextmanager
def small_disk(request: pytest.FixtureRequest, kind: str) -> Iterator[SmallDisk]:
    """Give a database of a kind (`sqlite` or `postgresql`) that has room for 2 MB."""
    with _mounted() as folder:
        if kind == "sqlite":
            with copied(request, request.getfixturevalue("migrated_sqlite"), folder) as url:
                yield SmallDisk(folder, url)
            return
        server, like = request.getfixturevalue("postgres"), request.getfixturevalue("migrated_postgresql")
        with _tablespace(server, folder) as space, fresh_database(server, like, space) as url:
            yield SmallDisk(folder, url)


@contextmanager
def _mounted() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="attest-small-") as name:
        Path(name).chmod(0o755)  # the server of PostgreSQL is another user
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=755", "tmpfs", name]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            unavailable("a small file system may only be mounted as root")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


@contextmanager
def _tablespace(server: URL, disk: Path) -> Iterator[str]:
    """Let the server keep databases on a disk of this machine."""
    folder, name = disk / "space", f"attest_{uuid.uuid4().hex}"
    folder.mkdir()
    give_to_ordinary_user(folder)
    asyncio.run(execute(server, f"CREATE TABLESPACE {name} LOCATION '{folder}'"))
    try:
        yield name
    finally:
        asyncio.run(execute(server, f"DROP TABLESPACE {name}"))
