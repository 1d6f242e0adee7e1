"""A real PostgreSQL of the tests' own: `ATTEST_TEST_POSTGRES_URL` (a role that may make databases) if set, else one
started from Debian's binaries on a free port, with durability as in production."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy.engine import URL, make_url

from tests.rig.ports import free_port
from tests.rig.process import (
    accepts,
    give_to_ordinary_user,
    ordinary_user,
    stop,
    unavailable,
    wait_for,
)


class PostgresServer:
    """One server that a test may stop, kill and start again."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._data = folder / "data"
        self._folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> URL:
        return URL.create("postgresql+asyncpg", "attest", None, "127.0.0.1", self.port, "postgres")

    def initialise(self) -> None:
        give_to_ordinary_user(self._folder)
        subprocess.run(
            [
                *(self._binaries / "initdb", "-D", self._data, "-U", "attest"),
                *("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            **ordinary_user(),
        )

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(self._binaries / "postgres", "-D", self._data, "-p", str(self.port), "-k", self._folder),
                *("-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=64MB", "-c", "log_min_messages=fatal"),
            ],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **ordinary_user(),
        )
        wait_for(lambda: accepts(self.port) and self._answers(), self.process, 60, "PostgreSQL")

    def stop(self) -> None:
        """End fast: running sessions are ended, what is committed stays."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                stop(self.process)

    def _answers(self) -> bool:
        try:
            asyncio.run(execute(self.url, "SELECT 1"))
        except (asyncpg.PostgresError, OSError):
            return False
        return True


@contextmanager
def own_postgres() -> Iterator[PostgresServer]:
    """Start a server that nobody else uses, for tests that take it away."""
    with tempfile.TemporaryDirectory(prefix="attest-pg-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = PostgresServer(_binaries(), folder)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def postgres_url() -> Iterator[URL]:
    """Give the address of a server in which `fresh_database` may make databases."""
    given = os.environ.get("ATTEST_TEST_POSTGRES_URL")
    if given:
        yield make_url(given).set(drivername="postgresql+asyncpg")
        return
    with own_postgres() as server:
        yield server.url


@contextmanager
def fresh_database(server: URL, like: str | None = None, tablespace: str = "pg_default") -> Iterator[str]:
    """Make an empty database, or a copy of one that nobody uses; give its URL for `ATTEST_DATABASE_URL`, drop it at the
    end."""
    name = f"attest_test_{uuid.uuid4().hex}"
    template = f" TEMPLATE {make_url(like).database}" if like else ""
    asyncio.run(execute(server, f"CREATE DATABASE {name}{template} TABLESPACE {tablespace}"))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        asyncio.run(execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def _binaries() -> Path:
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not installed:
        unavailable("not installed: PostgreSQL (Debian package postgresql)")
    return installed[-1].parent


async def execute(url: URL, statement: str) -> None:
    """Run one statement, on a connection of its own."""
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
