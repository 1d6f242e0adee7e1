"""`make soak`: real prompts through the running product, and every turn's records afterwards.

All harmless English prompts of harm-eval/benign-en.jsonl.gz and 500 of harm/dev.jsonl.gz, under ATTEST_SOAK_DATA
(default ../shared/data; the data sets are not in the repository). Starts `attest up` in a folder of its own, unless
ATTEST_SOAK_URL and ATTEST_SOAK_TOKEN name a running one; ATTEST_DATA_DIR or ATTEST_DATABASE_URL must then be its own.

Fails when any answer is a 5xx, any turn lacks its accepted or closing record, or what a client received is not what the
log says was delivered (looked at in full for some turns).
"""

import asyncio
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.load import percentile, say
from tests.bench.processes import BenchError, running, wait
from tests.rig.ports import free_port

CONCURRENCY = 8
OF_DEV = 500
MAX_TOKENS = 48
SHOWN = 25
"""Turns whose full trail is compared with what the client received."""
CLOSED = ("turn.completed", "turn.blocked", "turn.aborted")


@dataclass(frozen=True)
class Prompt:
    """One text of a data set."""

    text: str
    lang: str
    group: str
    stream: bool


@dataclass(frozen=True)
class Result:
    """One turn as its client saw it."""

    prompt: Prompt
    status: int
    turn_id: str
    text: str
    finish: str
    seconds: float


@dataclass(frozen=True)
class Product:
    """A running Attest, and the environment in which `attest audit` finds its log."""

    url: str
    token: str
    environ: dict[str, str]


def prompts(folder: Path) -> list[Prompt]:
    """Read the data sets; the choice of 500 is the same in every run. Every second one is streamed."""
    benign = [(row, "benign-en") for row in _rows(folder / "harm-eval" / "benign-en.jsonl.gz")]
    dev = [
        (row, "dev harmful" if row["labels"] else "dev harmless")
        for row in random.Random(20).sample(_rows(folder / "harm" / "dev.jsonl.gz"), OF_DEV)
    ]
    return [
        Prompt(row["text"], row["lang"], group, stream=number % 2 == 0)
        for number, (row, group) in enumerate(benign + dev)
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(path, "rt") as lines:
            return [json.loads(line) for line in lines]
    except OSError as error:
        raise BenchError(f"cannot read {path} ({error.strerror}); set ATTEST_SOAK_DATA") from None


def start(stack: ExitStack) -> Product:
    """Find the product that the environment names, or start one."""
    given = os.environ.get("ATTEST_SOAK_URL")
    if given:
        return Product(given.rstrip("/"), os.environ["ATTEST_SOAK_TOKEN"], {})
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attest-soak-")))
    port = free_port()
    environ = {
        "ATTEST_DATA_DIR": str(folder / "data"),
        "ATTEST_PORT": str(port),
        "ATTEST_RATE_PER_MINUTE": "100000",
        "ATTEST_RATE_BURST": "100000",
    }
    log = folder / "up.log"
    process = stack.enter_context(running([sys.executable, "-m", "gateway", "up"], log, environ))
    wait(f"http://127.0.0.1:{port}/health/ready", process, 180, log)
    token = command(environ, "dev-token", "alice").strip()
    return Product(f"http://127.0.0.1:{port}", token, environ)


def command(environ: dict[str, str], *arguments: str) -> str:
    """Run an `attest` command beside the product."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"attest {' '.join(arguments[:2])} failed ({done.returncode}): {done.stderr[-500:]}")
    return done.stdout


async def send_all(product: Product, which: list[Prompt]) -> list[Result]:
    """Send every prompt, eight at a time."""
    waiting, results = iter(which), []
    headers = {"authorization": f"Bearer {product.token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=300)) as http:

        async def worker() -> None:
            for prompt in waiting:
                results.append(await send(http, product.url, prompt))
                if len(results) % 100 == 0:
                    say(f"  {len(results)} of {len(which)}")

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return results


async def send(http: aiohttp.ClientSession, url: str, prompt: Prompt) -> Result:
    """Send one prompt as one turn."""
    message = {"role": "user", "content": prompt.text}
    body = {"model": "", "messages": [message], "max_tokens": MAX_TOKENS, "stream": prompt.stream}
    body = {name: value for name, value in body.items() if value != ""}
    begin = time.monotonic()
    async with http.post(f"{url}/v1/chat/completions", json=body) as response:
        raw = await response.read()
    took = time.monotonic() - begin
    if response.status != 200:
        error = json.loads(raw).get("error", {}) if raw.startswith(b"{") else {}
        return Result(prompt, response.status, str(error.get("turn_id", "")), "", str(error.get("code", "")), took)
    parts = list(_events(raw)) if prompt.stream else [json.loads(raw)]
    text, finish, turn_id = "", "", ""
    for part in parts:
        turn_id = (part.get("attest") or {}).get("turn_id") or turn_id
        for choice in part.get("choices", ()):
            said = choice.get("delta") or choice.get("message") or {}
            text += said.get("content") or ""
            finish = choice.get("finish_reason") or finish
    return Result(prompt, 200, turn_id, text, finish, took)


def _events(raw: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def wrong(product: Product, results: list[Result]) -> list[str]:
    """Compare with the audit log; return what does not hold, one sentence each, without content."""
    found = [
        f"{result.status} ({result.finish}) for turn {result.turn_id}" for result in results if result.status >= 500
    ]
    answered = [result for result in results if result.status == 200]
    found += [f"an answer without a turn id ({result.prompt.group})" for result in answered if not result.turn_id]
    listed = json.loads(command(product.environ, "audit", "list", "--json", "--limit", "10000"))
    closing = {row["turn_id"]: row.get("closing_kind", "") for row in listed}
    for result in answered:
        kind = closing.get(result.turn_id)
        if kind not in CLOSED:
            found.append(f"turn {result.turn_id} has {kind or 'no closing record'}")
    for result in random.Random(7).sample(answered, min(SHOWN, len(answered))):
        trail = json.loads(command(product.environ, "audit", "show", result.turn_id, "--json"))
        kinds = [record["kind"] for record in trail["records"]]
        if "turn.accepted" not in kinds:
            found.append(f"turn {result.turn_id} has no turn.accepted")
        if result.finish != "content_filter" and trail["delivered"] != result.text:
            found.append(f"turn {result.turn_id}: the client received something else than the log says")
        if trail["message"] != result.prompt.text:
            found.append(f"turn {result.turn_id}: the log's message is not what was typed")
    return found


def rates(results: list[Result]) -> str:
    """Block rates by data set and language."""
    lines = []
    for key in sorted({(result.prompt.group, result.prompt.lang) for result in results}):
        those = [result for result in results if (result.prompt.group, result.prompt.lang) == key]
        blocked = sum(result.finish == "content_filter" for result in those)
        share = 100 * blocked / len(those)
        lines.append(f"  {key[0]:13} {key[1]}: {blocked:4} of {len(those):4} blocked ({share:.1f} %)")
    return "\n".join(lines)


def main() -> int:
    try:
        which = prompts(Path(os.environ.get("ATTEST_SOAK_DATA", "../shared/data")))
        with ExitStack() as stack:
            product = start(stack)
            began = time.monotonic()
            results = asyncio.run(send_all(product, which))
            took = time.monotonic() - began
            problems = wrong(product, results)
    except BenchError as error:
        say(f"The soak could not run: {error}")
        return 2
    seconds = [result.seconds for result in results]
    say(f"{len(results)} turns in {took:.0f} s; p50 {percentile(seconds, 0.5)} ms, p99 {percentile(seconds, 0.99)} ms")
    say(f"status: {dict(Counter(result.status for result in results))}")
    say(f"finish: {dict(Counter(result.finish for result in results))}")
    say(rates(results))
    for problem in problems[:50]:
        say(f"WRONG: {problem}")
    say("every turn has its records" if not problems else f"{len(problems)} things are wrong")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
