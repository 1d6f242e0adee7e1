"""The processes of a benchmark: scripted upstream, gateway, LiteLLM; each started, awaited and stopped cleanly."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.texts import write_answers
from tests.rig.ports import free_port

HERE = Path(__file__).parent
ANSWERS = 8_000
BUDGETS = """\
person: {day: {tokens: 1000000000000, turns: 1000000000}, month: {tokens: 1000000000000, turns: 1000000000}}
groups: {staff: {day: {tokens: 1000000000000, turns: 1000000000}, month: {tokens: 1000000000000, turns: 1000000000}}}
"""
"""Of the person and of their group, by day and month, so high that nothing stops: each turn reserves and settles."""
LITELLM = "litellm[proxy]==1.106.2"


class BenchError(Exception):
    """The benchmark cannot run; the message says why."""


@dataclass(frozen=True)
class Server:
    """A server under measurement."""

    port: int
    process: subprocess.Popen[bytes]
    token: str = ""

    def memory_mb(self) -> float:
        """Resident memory of the process and its children, in megabytes."""
        whole = psutil.Process(self.process.pid)
        return round(sum(part.memory_info().rss for part in (whole, *whole.children(recursive=True))) / 1e6, 1)

    def cpu_s(self) -> float:
        """Processor time of the process and its children so far."""
        whole = psutil.Process(self.process.pid)
        times = [part.cpu_times() for part in (whole, *whole.children(recursive=True))]
        return sum(used.user + used.system for used in times)

    def imports_torch(self) -> bool:
        """Whether torch's library is mapped into the process."""
        return any("libtorch" in found.path for found in psutil.Process(self.process.pid).memory_maps())


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def wait(url: str, process: subprocess.Popen[bytes], seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchError(f"a server ended with {process.returncode}:\n{tail(log)}")
        if answers(url):
            return
        time.sleep(0.1)
    raise BenchError(f"{url} was not ready within {seconds:.0f} s:\n{tail(log)}")


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def running(command: list[str], log: Path, environ: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **(environ or {})}, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


@contextmanager
def upstream(folder: Path) -> Iterator[Server]:
    """Compile the scripted model with the machine's C compiler and run it."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("a C compiler is needed for the scripted model: apt-get install gcc libc6-dev")
    program, port = folder / "upstream", free_port()
    subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / "upstream.c")], check=True)
    for lang in ("en", "zh"):
        write_answers(folder / f"answers-{lang}", lang, ANSWERS)
    command = [str(program), str(port), str(folder / "answers-en"), str(folder / "answers-zh")]
    with running(command, folder / "upstream.log") as process:
        wait(f"http://127.0.0.1:{port}/v1/models", process, 20, folder / "upstream.log")
        yield Server(port, process)


@contextmanager
def gateway(
    folder: Path, inference_port: int, data: Path | None = None, settings: dict[str, str] | None = None
) -> Iterator[Server]:
    """Run the real gateway before an inference server, on a database of its own; limits and budgets out of the way.

    With `ATTEST_BUDGETS` empty in `settings` there are no budgets.
    """
    port, log, budgets = free_port(), folder / "gateway.log", folder / "budgets.yaml"
    budgets.write_text(BUDGETS)
    environ = {
        "ATTEST_DATA_DIR": str(data or folder / f"data-{port}"),
        "ATTEST_PORT": str(port),
        "ATTEST_INFERENCE_URL": f"http://127.0.0.1:{inference_port}/v1",
        "ATTEST_RATE_PER_MINUTE": "100000",
        "ATTEST_RATE_BURST": "100000",
        "ATTEST_LOG_LEVEL": "WARNING",
        "ATTEST_BUDGETS": str(budgets),
        **(settings or {}),
    }
    environ = {name: value for name, value in environ.items() if value or name != "ATTEST_BUDGETS"}
    with running([sys.executable, "-m", "gateway", "serve"], log, environ) as process:
        wait(f"http://127.0.0.1:{port}/health/ready", process, 60, log)
        token = subprocess.run(
            [sys.executable, "-m", "gateway", "dev-token", "alice"],
            env={**os.environ, **environ},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        yield Server(port, process, token)


@contextmanager
def litellm(folder: Path, inference_port: int) -> Iterator[Server]:
    """Run LiteLLM's proxy, pass-through, from an environment of its own in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attest-bench" / "litellm-1.106.2"
    program = cache / "bin" / "litellm"
    if not program.exists():
        uv = shutil.which("uv")
        if uv is None:
            raise BenchError("uv is needed to install LiteLLM")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(cache)], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", str(cache / "bin" / "python"), LITELLM], check=True
        )
    port, key, log = free_port(), "sk-" + secrets.token_urlsafe(32), folder / "litellm.log"
    models = "".join(
        f"  - model_name: bench-{lang}\n    litellm_params:\n      model: openai/bench-{lang}\n"
        f"      api_base: http://127.0.0.1:{inference_port}/v1\n      api_key: none\n"
        for lang in ("en", "zh")
    )
    config = folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n{models}general_settings:\n  master_key: {key}\nlitellm_settings:\n  telemetry: false\n"
    )
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True", "LITELLM_LOG": "ERROR"}
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with running(command, log, environ) as process:
        wait(f"http://127.0.0.1:{port}/health/liveliness", process, 120, log)
        yield Server(port, process, key)
