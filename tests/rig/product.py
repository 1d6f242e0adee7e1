"""The real product for tests: inference tier (scripted or a checkpoint) and gateway, each a process of its own."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import FileMasterKey
from audit.ports import TurnTrail
from audit.readers import Readers
from audit.record import Entry, Kind
from audit.search.query import Order
from audit.search.records import RecordQuery, RecordSearch
from gateway.auth.development_provider.files import FOLDER, SECRET_FILE
from gateway.auth.development_provider.server import DEV_TOKEN_CLIENT
from gateway.database import make_engine
from tests.rig.ports import free_port
from tests.rig.process import stop, wait_for

ROOT = Path(__file__).parents[2]
GATEWAY_LOG, INFERENCE_LOG = "gateway.log", "inference.log"
Found = TypeVar("Found")


def answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200


@dataclass
class Product:
    """A running product; `restart_gateway` starts the gateway anew on the same data."""

    folder: Path
    port: int
    inference_port: int
    environment: dict[str, str]
    inference: subprocess.Popen[bytes] | None = None
    gateway: subprocess.Popen[bytes] | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    def start_inference(self, *arguments: str, wait: bool = True) -> None:
        command = ["inference", "--host", "127.0.0.1", "--port", str(self.inference_port), *arguments]
        self.inference = self._start(command, INFERENCE_LOG)
        if wait:
            self.wait_for_inference()

    def wait_for_inference(self) -> None:
        health = f"http://127.0.0.1:{self.inference_port}/health"
        log = self.folder / INFERENCE_LOG
        wait_for(lambda: answers(health), self.inference, 120, "the inference tier", log)

    def start_gateway(self, *, wait: bool = True) -> None:
        self.gateway = self._start(["serve"], GATEWAY_LOG)
        if wait:
            ready = f"{self.url}/health/ready"
            wait_for(lambda: answers(ready), self.gateway, 240, "the gateway", self.folder / GATEWAY_LOG)

    def kill_gateway(self) -> None:
        assert self.gateway is not None
        os.killpg(self.gateway.pid, signal.SIGKILL)
        self.gateway.wait(10)

    def restart_gateway(self) -> None:
        self.kill_gateway()
        self.start_gateway()

    def token(self, name: str) -> str:
        """A token as `attest dev-token` gets it, without a process of its own: that takes a second and a half."""
        if name not in self.tokens:
            form = urllib.parse.urlencode(
                {"grant_type": "client_credentials", "subject": name, "scope": "openid profile"}
            )
            secret = (self.data_dir / FOLDER / SECRET_FILE).read_text().strip()
            credentials = base64.b64encode(f"{DEV_TOKEN_CLIENT}:{secret}".encode()).decode()
            request = urllib.request.Request(f"{self.url}/dev-provider/token", form.encode())
            request.add_header("Authorization", f"Basic {credentials}")
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.tokens[name] = json.loads(answer.read())["access_token"]
        return self.tokens[name]

    def attest(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def show(self, turn_id: str) -> dict[str, object]:
        shown: dict[str, object] = json.loads(self.attest("audit", "show", turn_id, "--json"))
        return shown

    def trails(self, turn_ids: list[str]) -> list[TurnTrail]:
        """The same as `show`, for many turns, without a process for each."""

        async def read(engine: AsyncEngine) -> list[TurnTrail]:
            readers = Readers(engine, FileMasterKey.load(self.data_dir / "master.key"))
            return [trail for turn_id in turn_ids if (trail := await readers.turn(turn_id))]

        return self._read(read)

    def records(self, kind: Kind) -> list[Entry]:
        """Every record of a kind, oldest first, without contents."""

        async def read(engine: AsyncEngine) -> list[Entry]:
            page = await RecordSearch(engine).page(RecordQuery(kinds=(kind,), order=Order.OLDEST), None, 1000)
            return list(page.records)

        return self._read(read)

    def newest(self, *kinds: Kind) -> list[Entry]:
        """The newest hundred records of some kinds, newest first, without contents."""

        async def read(engine: AsyncEngine) -> list[Entry]:
            page = await RecordSearch(engine).page(RecordQuery(kinds=kinds, order=Order.NEWEST), None, 100)
            return list(page.records)

        return self._read(read)

    def _read(self, read: Callable[[AsyncEngine], Awaitable[Found]]) -> Found:
        """Read the database, in a thread of its own: Playwright keeps an event loop running in the tests'."""
        default = f"sqlite+aiosqlite:///{self.data_dir.resolve()}/attest.db"

        async def run() -> Found:
            engine = make_engine(self.environment.get("ATTEST_DATABASE_URL", default))
            try:
                return await read(engine)
            finally:
                await engine.dispose()

        with ThreadPoolExecutor(1) as apart:
            return apart.submit(asyncio.run, run()).result()

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def close(self) -> None:
        for process in (self.gateway, self.inference):
            if process is not None:
                stop(process)

    def _start(self, arguments: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "gateway", *arguments],
                env=self.environment,
                cwd=ROOT,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


@contextlib.contextmanager
def running_product(
    folder: Path, script: object = None, tier: tuple[str, ...] = (), *, port: int | None = None, **settings: str
) -> Iterator[Product]:
    """Start a product in `folder`: on the scripted engine when a script is given, else on the demo checkpoint.

    `tier` are options of `attest inference`, which may choose something else.
    """
    port, inference_port = port or free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ATTEST_", "OTEL_"))}
    environment |= {
        "ATTEST_DATA_DIR": str(folder / "data"),
        "ATTEST_PORT": str(port),
        "ATTEST_INFERENCE_URL": f"http://127.0.0.1:{inference_port}/v1",
        "ATTEST_RATE_PER_MINUTE": "100000",
        "ATTEST_RATE_BURST": "100000",
        "OMP_NUM_THREADS": "1",
        **settings,
    }
    product = Product(folder=folder, port=port, inference_port=inference_port, environment=environment)
    try:
        if script is None:
            product.start_inference(*tier, wait=False)
        else:
            path = folder / "script.json"
            path.write_text(json.dumps(script, ensure_ascii=False))
            product.start_inference("--engine", "scripted", "--script", str(path), wait=False)
        product.start_gateway()  # beside the tier: each takes some seconds of reading its modules
        product.wait_for_inference()
        yield product
    finally:
        product.close()


def eventually(check, seconds: float = 10) -> object:
    """Return the first true value of `check()`, or its last one."""
    end = time.monotonic() + seconds
    while not (value := check()) and time.monotonic() < end:
        time.sleep(0.1)
    return value
