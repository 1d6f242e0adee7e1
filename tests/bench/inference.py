"""The inference tier beside itself: one stream and eight, the server and the bare engine, a long prompt among others.

    python -m tests.bench.inference [--model DIR] [--tokens 64] [--rounds 5]

Ratios come from rounds that alternate within one run, so that other work on the machine touches both sides alike.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import NamedTuple

import torch
import uvicorn
import uvloop

from inference.chatglm3.loader import load
from inference.cli import DEMO
from inference.engine.torch_engine import Limits, TorchEngine
from inference.engines import OneEngine
from inference.ports import CompletionRequest
from inference.server import create_app
from tests.bench import report
from tests.bench.inference_client import STREAMS, WORDS
from tests.rig.ports import free_port


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def request(engine: TorchEngine, tokens: int, prompt: list[int], *, ids: bool = False) -> CompletionRequest:
    """Return a request; with `ids` every token is a stretch, as else those are that add text."""
    return CompletionRequest(
        engine.info.name, tuple(prompt), max_tokens=tokens, temperature=0.0, ignore_eos=True, token_ids=ids
    )


async def bare(engine: TorchEngine, tokens: int, place: int, *, ids: bool = False) -> list[float]:
    """Ask the engine itself; return when each stretch came."""
    asked = request(engine, tokens, [*WORDS, 400 + place], ids=ids)
    return [time.monotonic() async for _ in engine.complete(asked)]


class Figures(NamedTuple):
    """Tokens a second, and processor time of this process in ms for each token."""

    per_s: float
    cpu_ms: float


async def timed(work: Awaitable[object], tokens: int) -> Figures:
    began, cpu = time.monotonic(), time.process_time()
    await work
    return Figures(
        STREAMS * tokens / (time.monotonic() - began), (time.process_time() - cpu) * 1000 / (STREAMS * tokens)
    )


async def one_by_one(engine: TorchEngine, tokens: int) -> None:
    for place in range(STREAMS):
        await bare(engine, tokens, place)


async def gaps(engine: TorchEngine, tokens: int, long: int) -> dict[str, float]:
    """Return gaps between the tokens of four streams while a long prompt is read, and the first token of a late one."""
    streams = [asyncio.create_task(bare(engine, tokens, place, ids=True)) for place in range(4)]
    while engine.load().decode_steps == 0 or engine.load().running < len(streams):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    prompt = [300 + place % 500 for place in range(long)]

    async def first(ids: list[int]) -> tuple[float, float]:
        began = time.monotonic()
        async for _ in engine.complete(request(engine, 1, ids)):
            pass
        return began, time.monotonic()

    reading = asyncio.create_task(first(prompt))
    await asyncio.sleep(0.02)
    began, answered = await first(WORDS)
    long_began, long_answered = await reading
    times = await asyncio.gather(*streams)
    between = sorted(
        later - earlier
        for stream in times
        for earlier, later in itertools.pairwise(stream)
        if long_began < later < long_answered
    )
    alone = [later - earlier for stream in times for earlier, later in itertools.pairwise(stream)]
    return {
        "median_ms": statistics.median(alone) * 1000,
        "p99_ms": between[int(0.99 * (len(between) - 1))] * 1000 if between else 0.0,
        "gaps": len(between),
        "late_first_ms": (answered - began) * 1000,
        "long_first_ms": (long_answered - long_began) * 1000,
    }


@contextlib.asynccontextmanager
async def server(engine: TorchEngine) -> AsyncIterator[str]:
    port = free_port()
    config = uvicorn.Config(create_app(OneEngine(engine)), port=port, log_config=None, access_log=False)
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    while not running.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        await task


async def throughput(engine: TorchEngine, tokens: int, rounds: int) -> dict[str, float]:
    """Rounds of: one by one, eight together, eight together over HTTP."""
    found: list[dict[str, Figures]] = []
    async with server(engine) as url:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.inference_client", url, str(tokens)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

        async def http() -> None:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"go\n")
            await child.stdout.readline()

        await http()
        for _ in range(rounds):
            one = await timed(one_by_one(engine, tokens), tokens)
            eight = await timed(asyncio.gather(*(bare(engine, tokens, place) for place in range(STREAMS))), tokens)
            over_http = await timed(http(), tokens)
            found.append({"one": one, "engine": eight, "server": over_http})
            say(", ".join(f"{name} {each.per_s:.1f}/s {each.cpu_ms:.3f} ms" for name, each in found[-1].items()))
        child.terminate()
        await child.wait()
    return {
        "one": statistics.median(each["one"].per_s for each in found),
        "engine_8": statistics.median(each["engine"].per_s for each in found),
        "ratio": statistics.median(each["engine"].per_s / each["one"].per_s for each in found),
        "overhead": statistics.median(1 - each["server"].per_s / each["engine"].per_s for each in found),
        "cpu_overhead": statistics.median(each["server"].cpu_ms / each["engine"].cpu_ms - 1 for each in found),
    }


async def measure(options: argparse.Namespace) -> dict[str, float]:
    checkpoint = load(options.model, tokenizer_needed=False)
    if sum(parameter.numel() for parameter in checkpoint.model.parameters()) < 200_000_000:
        torch.set_num_threads(1)
    context = checkpoint.published.seq_length
    engine = TorchEngine(checkpoint, "bench", Limits(places=STREAMS))
    whole = await throughput(engine, options.tokens, options.rounds)
    engine = TorchEngine(checkpoint, "bench", Limits(places=STREAMS))
    await engine.start()
    waits = [await gaps(engine, 8 * options.tokens, min(options.long, context - 2)) for _ in range(options.rounds)]
    await engine.close()
    for wait in waits:
        say(json.dumps({name: round(value, 1) for name, value in wait.items()}))
    return whole | {name: statistics.median(wait[name] for wait in waits) for name in waits[0]}


def document(found: dict[str, float], options: argparse.Namespace, command: str, on: str) -> str:
    rows: list[list[object]] = [
        ["one stream after the other, tokens/s", round(found["one"], 1), ""],
        ["eight streams, tokens/s", round(found["engine_8"], 1), ""],
        ["ratio", round(found["ratio"], 2), "≥ 3 at 6B shapes"],
        ["server over bare engine at eight streams", f"{found['overhead']:.1%}", "≤ 3 %"],
        ["the same in processor time of the process", f"{found['cpu_overhead']:.1%}", ""],
        ["gap of others while a long prompt is read, median ms", round(found["median_ms"], 1), ""],
        ["the same, p99 ms", round(found["p99_ms"], 1), "≤ 3 × the median"],
        ["first token of a late short prompt, ms", round(found["late_first_ms"], 1), ""],
        ["first token of the long prompt, ms", round(found["long_first_ms"], 1), ""],
    ]
    intro = (
        f"Model `{options.model.name}`, {options.tokens} tokens an answer, {options.rounds} rounds, medians; "
        f"the client of the server is a process of its own. Long prompt: {options.long} tokens at most.\n"
    )
    return "\n".join([report.heading(command, on), intro, report.table(["what", "measured", "goal"], rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEMO)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", type=int, default=1500)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(options))
    body = document(found, options, "python -m tests.bench.inference " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("inference", "The inference tier", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
