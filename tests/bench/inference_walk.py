"""From a folder of weights to a serving INT8 model, in the five commands of docs/inference.md: time and memory of each.

    python -m tests.bench.inference_walk FOLDER [--bits 8]

FOLDER is a checkpoint (`tests.bench.random_weights` makes one of the true size); FOLDER-int8 appears beside it and goes
again. Memory is what a process owns (RssAnon) and what of its mapped files is resident (RssFile), highest seen.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tests.bench import report
from tests.bench.processes import BenchError, running, wait
from tests.rig.ports import free_port

_EVERY_S = 0.1
_START_S = 1200


class Used(NamedTuple):
    """What a command took."""

    seconds: float
    own_mb: float
    mapped_mb: float


class Watch(threading.Thread):
    """Looks at a process's memory until it is gone."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.highest = {"RssAnon": 0, "RssFile": 0}
        self.start()

    def run(self) -> None:
        """Keep the highest figures."""
        with contextlib.suppress(OSError):
            while True:
                for line in self._status.read_text().splitlines():
                    name, _, value = line.partition(":")
                    if name in self.highest:
                        self.highest[name] = max(self.highest[name], int(value.split()[0]))
                time.sleep(_EVERY_S)

    def used(self, began: float) -> Used:
        """Return it with the seconds since `began`."""
        own, mapped = (self.highest[name] * 1024 / 1e6 for name in ("RssAnon", "RssFile"))
        return Used(time.monotonic() - began, own, mapped)


def attest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", "inference", *arguments]


def run(*arguments: str) -> Used:
    """Run a command to its end. Raises `BenchError` when it fails."""
    began = time.monotonic()
    process = subprocess.Popen(attest(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = Watch(process.pid)
    said, _ = process.communicate()
    sys.stdout.write(said)
    if process.returncode:
        raise BenchError(f"{' '.join(arguments)} ended with {process.returncode}")
    return watch.used(began)


def ask(url: str, model: str) -> tuple[float, str]:
    """Ask a question in words; return the seconds until the whole answer, and the answer."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "你好。Hello."}],
        "max_tokens": 8,
        "temperature": 0,
    }
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=600) as response:
        found = json.load(response)
    return time.monotonic() - began, json.dumps(found["usage"])


def serve(folder: Path) -> list[tuple[str, Used]]:
    """Serve the folder, ask once, and stop."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    with tempfile.TemporaryDirectory() as made:
        began, log = time.monotonic(), Path(made) / "log"
        command = attest("--model", str(folder), "--context", "8192", "--port", str(port))
        with running(command, log) as process:
            watch = Watch(process.pid)
            wait(f"{url}/models", process, _START_S, log)
            ready = watch.used(began)
            with urllib.request.urlopen(f"{url}/models", timeout=60) as response:
                model = json.load(response)["data"][0]
            seconds, usage = ask(url, model["id"])
            sys.stdout.write(f"{json.dumps(model)}\n{usage}\n")
            served = watch.used(began)._replace(seconds=seconds)
        return [("serve, until it is ready", ready), ("ask: first answer of 8 tokens", served)]


def document(found: list[tuple[str, Used]], folder: Path, options: argparse.Namespace, on: str) -> str:
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    largest = max(path.stat().st_size for path in folder.glob("*.safetensors"))
    intro = (
        f"A folder of {size / 1e9:.1f} GB with random weights, its largest shard {largest / 1e9:.1f} GB, to "
        f"INT{options.bits}. Own memory is RssAnon, mapped is RssFile (pages of the files themselves, which the system "
        "takes back when it needs room), highest seen.\n"
    )
    rows = [[name, round(used.seconds, 1), round(used.own_mb), round(used.mapped_mb)] for name, used in found]
    command = f"python -m tests.bench.inference_walk FOLDER --bits {options.bits}"
    return "\n".join(
        [report.heading(command, on), intro, report.table(["command", "seconds", "own MB", "mapped MB"], rows)]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bits", choices=["8", "4"], default="8")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on, source = report.machine(), options.folder
    target = source.with_name(f"{source.name}-int{options.bits}")
    try:
        found = [("check", run("check", str(source)))]
        found.append(("quantise", run("quantise", str(source), str(target), "--bits", options.bits)))
        found.append(("check the new folder", run("check", str(target))))
        found += serve(target)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    body = document(found, source, options, on)
    sys.stdout.write(body + "\n")
    if options.write:
        report.write("inference-walk", "From weights to a serving model", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
