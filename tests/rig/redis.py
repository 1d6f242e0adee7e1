"""A real Redis (or Valkey) of the tests' own: `ATTEST_TEST_REDIS_URL` if set, else redis-server on a free port."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.ports import free_port
from tests.rig.process import accepts, need, ordinary_user, stop, wait_for


class RedisServer:
    """One server that a test may stop, start again and freeze."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            **ordinary_user(),
        )
        wait_for(lambda: accepts(self.port), self.process, 20, "Redis")

    def stop(self) -> None:
        if self.process is not None:
            stop(self.process)


@contextmanager
def own_redis() -> Iterator[RedisServer]:
    """Start a server that nobody else uses, for tests that take it away."""
    need("redis-server")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        server = RedisServer(Path(name), free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_url() -> Iterator[str]:
    """Give the address of a server with room for tests; keys there are the caller's to choose apart."""
    given = os.environ.get("ATTEST_TEST_REDIS_URL")
    if given:
        yield given
        return
    with own_redis() as server:
        yield server.url
