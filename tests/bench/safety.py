"""`python -m tests.bench.safety [--no-write] [--no-peer]`: what judging a text costs.

The shipped classifier in one run beside the same network in PyTorch and beside a BERT-base of random weights (12
layers, hidden 768: the size of the classifiers that LLM Guard and Detoxify use); micro-batching; all guards together;
and LLM Guard's own scanners that run without downloading a model, on the same texts. Goals stand in the tables.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safety.classifier import manifest
from safety.classifier.batch import Batcher
from safety.classifier.engine import Engine
from safety.classifier.onnx import OnnxModel
from safety.classifier.tokenise import Ids
from safety.compose import build_safety
from safety.pipeline import Pipeline
from safety.ports import Direction, TurnContext
from safety.training import graph
from safety.training.network import Network, Shape
from safety.training.shipped import start_from
from tests.bench import report
from tests.bench.llm_guard import peer, peer_line
from tests.bench.load import percentile, say
from tests.bench.processes import BenchError
from tests.bench.texts import prompt, sentences

LENGTHS = {32: 3.0, 64: 6.0, 128: 12.0}
"""Tokens of a text, and the goal for one run on one thread in milliseconds."""
BERT_BASE = Shape(vocabulary=30_522, hidden=768, layers=12, heads=12, inner=3072)
TIMES_TORCH, TIMES_ALONE, GUARDS_MS = 4.0, 1.5, 8.0
AT_ONCE = 32


def seconds_of(work: Callable[[], object], times: int) -> list[float]:
    """Time `work`, in seconds, after three runs to warm up."""
    for _ in range(3):
        work()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


def sequence(length: int, dice: np.random.Generator, vocabulary: int) -> Ids:
    """Return a text of random tokens."""
    return dice.integers(5, vocabulary, length).astype(np.int64)


def by_length(folder: Path, times: int) -> list[dict[str, Any]]:
    """One text in one run: the shipped model, the same in PyTorch, a BERT-base in int8; one thread each."""
    torch.set_num_threads(1)
    shipped = OnnxModel(manifest.SHIPPED / manifest.MODEL_FILE, threads=1)
    network = start_from(manifest.SHIPPED)[0].eval()
    logging.disable(logging.WARNING)
    graph.write(Network(BERT_BASE).eval(), folder / "base.onnx")
    base = OnnxModel(folder / "base.onnx", threads=1)
    logging.disable(logging.NOTSET)
    dice = np.random.default_rng(1)
    found = []
    for length, goal in LENGTHS.items():
        ids = sequence(length, dice, 30_000)
        rows, mask = torch.from_numpy(ids)[None], torch.ones((1, length), dtype=torch.long)
        with torch.no_grad():
            in_torch = seconds_of(lambda rows=rows, mask=mask: network(rows, mask), times)
        ours = seconds_of(lambda ids=ids: shipped.run([ids]), times)
        large = seconds_of(lambda ids=ids: base.run([ids]), max(times // 4, 5))
        found.append(
            {
                "tokens": length,
                "goal": goal,
                "p50": percentile(ours, 0.5),
                "p99": percentile(ours, 0.99),
                "torch": percentile(in_torch, 0.5),
                "bert_base": percentile(large, 0.5),
            }
        )
        say(f"  {json.dumps(found[-1])}")
    return found


async def batching(seconds: float) -> dict[str, float]:
    """32 callers, each with one new text of 16 to 48 tokens after the other: one run a text, or micro-batches."""
    cores = os.cpu_count() or 1
    shipped = manifest.load(manifest.SHIPPED)[0]
    with_all, with_one = (Engine(manifest.SHIPPED, shipped, threads=threads).model for threads in (cores, 1))
    dice = np.random.default_rng(2)

    def texts() -> Iterator[Ids]:
        while True:
            yield sequence(int(dice.integers(16, 49)), dice, 30_000)

    fresh = texts()
    turn = asyncio.Lock()
    batcher = Batcher(with_one, cached=0, workers=cores)  # as it ships: a run has one thread

    async def alone(ids: Ids) -> None:
        async with turn:
            await asyncio.to_thread(with_all.run, [ids])

    async def together(ids: Ids) -> None:
        await batcher.judge([ids])

    found: dict[str, float] = {}
    for name, judge in (("alone", alone), ("together", together), ("alone again", alone), ("together again", together)):
        waits: list[float] = []
        until = time.monotonic() + seconds

        async def caller(judge: Callable[[Ids], Any] = judge, waits: list[float] = waits, until: float = until) -> None:
            while time.monotonic() < until:
                began = time.perf_counter()
                await judge(next(fresh))
                waits.append(time.perf_counter() - began)

        began = time.monotonic()
        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        key = name.split()[0]
        rate = len(waits) / (time.monotonic() - began)
        found[f"{key} per_s"] = max(found.get(f"{key} per_s", 0.0), round(rate, 1))
        p99 = percentile(waits, 0.99)
        found[f"{key} p99"] = min(found.get(f"{key} p99", p99), p99)
    await batcher.close()
    say(f"  {json.dumps(found)}")
    return found


def guarded_texts(count: int) -> list[str]:
    """Texts of about 200 characters, none twice."""
    return ["".join(sentences("en", number))[:200] for number in range(count)]


async def guards(texts: Sequence[str]) -> list[float]:
    """All guards over one text after another, as before the model."""
    layer = build_safety(threads=os.cpu_count() or 1)
    context = TurnContext(direction=Direction.INPUT)
    for number in range(5):
        await layer.examine(prompt("en", number), context)
    found = []
    for text in texts:
        began = time.perf_counter()
        await layer.examine(text, context)
        found.append(time.perf_counter() - began)
    await layer.close()
    return found


async def filters_alone(texts: Sequence[str]) -> list[float]:
    """Only what LLM Guard's scanners do as well: normaliser and filters, without the classifier."""
    layer = build_safety()
    swift = [guard for guard in layer.guards if guard.name != "classifier"]
    await layer.close()
    part = Pipeline(swift, layer.policy)
    context = TurnContext(direction=Direction.INPUT)
    found = []
    for text in texts:
        began = time.perf_counter()
        await part.examine(text, context)
        found.append(time.perf_counter() - began)
    return found


def lengths_table(found: list[dict[str, Any]]) -> str:
    """One run, by the text's length."""
    rows: list[list[object]] = [
        [
            part["tokens"],
            f"{part['p50']} / {part['p99']}",
            f"≤ {part['goal']:g}",
            part["torch"],
            f"{part['torch'] / part['p50']:.1f} × (≥ {TIMES_TORCH:g})",
            part["bert_base"],
            f"{part['bert_base'] / part['p50']:.1f} ×",
        ]
        for part in found
    ]
    columns = [
        "tokens",
        "int8 p50 / p99, ms",
        "goal p50",
        "PyTorch float, ms",
        "as fast",
        "BERT-base int8, ms",
        "takes",
    ]
    return report.table(columns, rows)


def batching_line(found: dict[str, float]) -> str:
    """Micro-batches beside one text a run."""
    return (
        f"Micro-batching, {AT_ONCE} callers with a new text of 16 to 48 tokens each time, all cores: "
        f"{found['together per_s']} texts/s, p99 {found['together p99']} ms; one text a run (all cores for it): "
        f"{found['alone per_s']} texts/s, p99 {found['alone p99']} ms. That is "
        f"{found['together per_s'] / found['alone per_s']:.2f} × the texts (goal ≥ {TIMES_ALONE:g} ×) at "
        f"{found['together p99'] / found['alone p99']:.2f} × the p99 (goal ≤ 2 ×).\n"
    )


def document(found: dict[str, Any], command: str, on: str) -> str:
    """Put the figures into words."""
    base = (
        "One text in one run, one thread. BERT-base has random weights: 12 layers, hidden 768, the size of the "
        "classifiers that LLM Guard and Detoxify load.\n"
    )
    whole = (
        f"All guards on a prompt of 200 characters: p50 {percentile(found['guards'], 0.5)} ms, p99 "
        f"{percentile(found['guards'], 0.99)} ms (goal p50 ≤ {GUARDS_MS:g}).\n"
    )
    lines = [
        report.heading(command, on),
        base,
        lengths_table(found["lengths"]),
        batching_line(found["batching"]),
        whole,
    ]
    if "peer" in found:
        lines.append(peer_line(found["filters"], found["peer"]))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="runs of each length")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each batching run")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="leave LLM Guard out")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    found: dict[str, Any] = {}
    texts = guarded_texts(options.times)
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as name:
        say("one run")
        found["lengths"] = by_length(Path(name), options.times)
    say("micro-batching")
    found["batching"] = asyncio.run(batching(options.seconds))
    say("all guards")
    found["guards"] = asyncio.run(guards(texts))
    if options.peer:
        with contextlib.suppress(BenchError):
            found["peer"] = peer(texts)
            found["filters"] = asyncio.run(filters_alone(texts))
    body = document(found, "python -m tests.bench.safety " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("safety", "Judging a text", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
