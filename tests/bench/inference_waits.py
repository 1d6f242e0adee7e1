"""Who waits for whom at ChatGLM3-6B's shapes: running streams for a long prompt, a late short request for both.

    python -m tests.bench.inference_waits FOLDER [--rounds 3] [--long 1500] [--threads N]

FOLDER is a slice of a few layers (`tests.bench.inference_large --folder DIR --prepare` makes DIR/bf16 and DIR/int8).
Its layers are repeated until there are 28, each with keys and values of its own, so that a step takes what it takes at
the full size while memory holds the slice only.
"""

import argparse
import asyncio
import copy
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import uvloop

from inference.chatglm3.loader import Checkpoint, load
from inference.engine.torch_engine import PREFILL_CHUNK, QUANTISED_CHUNK, Limits, TorchEngine
from inference.ports import CompletionRequest
from tests.bench import random_weights, report

LAYERS = random_weights.SHAPE.num_layers
STREAMS = 4
ALONE = 12
"""Tokens of each stream before the long prompt comes."""


def deepened(checkpoint: Checkpoint) -> None:
    """Repeat the model's layers until there are 28; copies share their weights."""
    model = checkpoint.model
    own = list(model.model.layers)
    layers = []
    for place in range(LAYERS):
        layer = copy.copy(own[place % len(own)])
        # A copy of a module shares its table of parts.
        layer._modules = dict(layer._modules)
        attention = copy.copy(layer.self_attn)
        attention.layer_idx = place
        layer.self_attn = attention
        layers.append(layer)
    model.model.layers = torch.nn.ModuleList(layers)
    model.config.num_hidden_layers = LAYERS


def request(engine: TorchEngine, tokens: int, prompt: list[int]) -> CompletionRequest:
    return CompletionRequest(
        engine.info.name, tuple(prompt), max_tokens=tokens, temperature=0.0, ignore_eos=True, token_ids=True
    )


async def first(engine: TorchEngine, prompt: list[int]) -> tuple[float, float]:
    """Ask for one token; return when it was asked for, and when it came."""
    began = time.monotonic()
    async for _ in engine.complete(request(engine, 1, prompt)):
        pass
    return began, time.monotonic()


async def one_round(engine: TorchEngine, long: int) -> dict[str, float]:
    """Let four streams run, then a long prompt come, then a late short one; return the waits in seconds."""
    times: list[list[float]] = [[] for _ in range(STREAMS)]

    async def stream(place: int) -> None:
        async for _ in engine.complete(request(engine, 2000, [*range(300, 332), 400 + place])):
            times[place].append(time.monotonic())

    streams = [asyncio.create_task(stream(place)) for place in range(STREAMS)]
    while min(len(each) for each in times) < ALONE:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    reading = asyncio.create_task(first(engine, [300 + place % 500 for place in range(long)]))
    await asyncio.sleep(1)
    late_began, late_came = await first(engine, list(range(300, 332)))
    long_began, long_came = await reading
    for each in streams:
        each.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    gaps = [pair for each in times for pair in itertools.pairwise(each)]
    alone = [later - earlier for earlier, later in gaps if later < long_began]
    beside = sorted(later - earlier for earlier, later in gaps if long_began < later < long_came)
    return {
        "alone median": statistics.median(alone),
        "beside median": statistics.median(beside),
        "beside p99": beside[int(0.99 * (len(beside) - 1))],
        "gaps": len(beside),
        "late first token": late_came - late_began,
        "long first token": long_came - long_began,
    }


async def measure(options: argparse.Namespace) -> list[dict[str, float]]:
    checkpoint = load(options.folder, "auto", tokenizer_needed=False)
    deepened(checkpoint)
    chunk = PREFILL_CHUNK if checkpoint.published.quantization_config is None else QUANTISED_CHUNK
    engine = TorchEngine(checkpoint, "bench", Limits(places=STREAMS + 4), chunk=chunk)
    await engine.start()
    found = []
    for _ in range(options.rounds):
        found.append(await one_round(engine, options.long))
        sys.stdout.write(json.dumps({name: round(value, 3) for name, value in found[-1].items()}) + "\n")
        sys.stdout.flush()
    await engine.close()
    return found


def document(found: list[dict[str, float]], options: argparse.Namespace, command: str, on: str) -> str:
    middle = {name: statistics.median(each[name] for each in found) for name in found[0]}
    ratio = statistics.median(each["beside p99"] / each["alone median"] for each in found)
    chunk_s = statistics.median(each["long first token"] for each in found)
    intro = (
        f"Slice `{options.folder.name}`, its layers repeated to 28; {STREAMS} streams run, a prompt of {options.long} "
        f"tokens comes, and a second later one of 32. {options.rounds} rounds, medians, seconds; threads: "
        f"{torch.get_num_threads()}.\n"
    )
    rows: list[list[object]] = [
        ["gap between two tokens of a stream, nobody else reading: median", f"{middle['alone median']:.2f}", ""],
        ["the same while the long prompt is read: median", f"{middle['beside median']:.2f}", ""],
        ["the same, p99", f"{middle['beside p99']:.2f}", f"{ratio:.2f} x the median alone (goal ≤ 3)"],
        ["first token of the late short request", f"{middle['late first token']:.2f}", "goal: at most one chunk"],
        ["first token of the long prompt", f"{chunk_s:.2f}", ""],
    ]
    return "\n".join([report.heading(command, on), intro, report.table(["what", "seconds", "beside"], rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=0, help="default: as torch has it")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    if options.threads:
        torch.set_num_threads(options.threads)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(options))
    body = document(found, options, f"python -m tests.bench.inference_waits DIR/{options.folder.name}", on)
    sys.stdout.write(body + "\n")
    if options.write:
        report.write("inference-waits", "Waiting for each other at ChatGLM3-6B's shapes", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
