"""ChatGLM3-6B's shapes with random weights: 16 bits, INT8 and INT4 beside each other, and llama.cpp beside them.

    python -m tests.bench.inference_large [--layers 4] [--rounds 5] [--threads N] [--llama PYTHON]

A slice of a few layers is measured, layer by layer, and extrapolated to 28: t = outer + layers x 28 / slice. Rounds
alternate within one run, so that other work on the machine touches every side alike; where that work owns a core, take
`--threads 1` and bind the process to another one. PYTHON is the interpreter of an environment that has
llama-cpp-python and gguf.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from inference.chatglm3.layout import published_shapes
from inference.chatglm3.loader import Checkpoint, load
from inference.engine import devices, slots
from inference.quant import precision as precisions
from inference.quant.offline import quantise
from inference.quant.plan import Quantisation, weight_bytes
from tests.bench import random_weights, report

LAYERS = random_weights.SHAPE.num_layers
CONTEXT = 64
PROMPT = 1024
"""Tokens of a chunk of quantised weights; others are read in half as many."""
STREAMS = 8


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Took(NamedTuple):
    """Seconds of a pass: all layers of the slice, and what is beside them."""

    layers: float
    outer: float

    def whole(self, layers: int) -> float:
        """Return the seconds that 28 layers would take."""
        return self.outer + self.layers * LAYERS / layers


class Side:
    """One precision of the slice."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.model = checkpoint.model
        slots.register(self.model)
        self._memories = [self._memory(checkpoint) for _ in range(STREAMS)]
        self._fresh: Callable[[], slots.Memory] = lambda: self._memory(checkpoint)
        self.quantum = slots.row_quantum(self.model, STREAMS)

    def _memory(self, checkpoint: Checkpoint) -> slots.Memory:
        memory = slots.Memory(self.model.config, PROMPT, checkpoint.precision.activations)
        memory.keys.zero_()
        memory.values.zero_()
        memory.length = CONTEXT
        return memory

    def decode(self, streams: int) -> Took:
        """One step of so many streams, filled up as the engine does it."""
        memories = self._memories[:streams]
        rows = streams + -streams % self.quantum
        ids, positions = torch.full((rows, 1), 300), torch.full((rows, 1), CONTEXT)
        return self._timed(lambda: slots.Pass(self.model, ids, positions, slots.Step(tuple(memories))))

    def prefill(self, tokens: int) -> Took:
        """One chunk of a prompt."""
        memory = self._fresh()
        memory.length = 0
        ids, positions = torch.arange(300, 300 + tokens)[None], torch.arange(tokens)[None]
        return self._timed(lambda: slots.Pass(self.model, ids, positions, slots.Step((memory,))))

    def _timed(self, build: Callable[[], slots.Pass]) -> Took:
        began = time.perf_counter()
        work = build()
        inner = time.perf_counter()
        while not work.done:
            work.advance()
        done = time.perf_counter()
        work.logits()
        return Took(done - inner, time.perf_counter() - done + inner - began)


WORK: dict[str, Callable[[Side], Took]] = {
    "decode 1": lambda side: side.decode(1),
    f"decode {STREAMS}": lambda side: side.decode(STREAMS),
    f"prefill {PROMPT // 2}": lambda side: side.prefill(PROMPT // 2),
    f"prefill {PROMPT}": lambda side: side.prefill(PROMPT),
}


def tokens_of(work: str) -> int:
    return int(work.split()[1])


def measure(folder: Path, layers: int, rounds: int, also: tuple[str, ...] = ()) -> dict[str, dict[str, float]]:
    """Return tokens a second at 28 layers, by precision and work: medians of the rounds, and ratios to the first.

    The first is what `--dtype auto` takes here for weights of 16 bits; `also` is another precision for the same ones.
    """
    first = precisions.choose("auto", random_weights.SHAPE.parameters, devices.CPU).name
    sides = {name: Side(load(folder / "bf16", name, tokenizer_needed=False)) for name in (first, *also)}
    for name in ("int8", "int4"):
        sides[name] = Side(load(folder / name, first, tokenizer_needed=False))
    say(", ".join(f"{name}: batches in multiples of {side.quantum}" for name, side in sides.items()))
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for work, run in WORK.items():
                for name, side in sides.items():
                    took = run(side).whole(layers)
                    if turn:
                        found[name, work].append(tokens_of(work) / took)
    result: dict[str, dict[str, float]] = {name: {} for name in sides}
    for (name, work), each in found.items():
        result[name][work] = statistics.median(each)
        ratios = [one / other for one, other in zip(each, found[first, work], strict=True)]
        result[name][f"{work} ratio"] = statistics.median(ratios)
    for name in sides:
        own, wide = found[name, f"prefill {PROMPT}"], found[first, f"prefill {PROMPT // 2}"]
        result[name]["own chunk"] = statistics.median(one / other for one, other in zip(own, wide, strict=True))
    for name in sides:
        pairs = zip(found[name, f"decode {STREAMS}"], found[name, "decode 1"], strict=True)
        result[name]["eight over one"] = statistics.median(eight / one for eight, one in pairs)
    return result


def llama(python: str, folder: Path, layers: int, rounds: int) -> dict[str, dict[str, float]]:
    """Run llama.cpp on a file of the same shapes, in its own environment."""
    side = Path(__file__).with_name("llama_side.py")
    command = [python, str(side), str(folder), str(layers), str(rounds), str(torch.get_num_threads())]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def document(found: dict[str, dict[str, float]], options: argparse.Namespace, command: str, on: str) -> str:
    shapes, wide = published_shapes(random_weights.SHAPE.shapes), 2 * random_weights.SHAPE.parameters
    first = next(iter(found))
    sizes = dict.fromkeys(precisions.PRECISIONS, wide) | {
        f"int{bits}": weight_bytes(shapes, Quantisation(bits)) for bits in (8, 4)
    }
    rows: list[list[object]] = []
    for name, each in found.items():
        cells = [
            f"{each[w]:.2f} ({each.get(w + ' ratio', each[w] / found[first][w]):.2f} x)" if w in each else ""
            for w in WORK
        ]
        size = f"{sizes[name] / 2**30:.2f} GiB ({sizes[name] / wide:.2f} x)" if name in sizes else ""
        own = f"{each['own chunk']:.2f} x" if name.startswith("int") else ""
        rows.append([name, size, *cells, own, f"{each['eight over one']:.1f} x"])
    intro = (
        f"ChatGLM3-6B's shapes with random weights: {options.layers} of its 28 layers measured and extrapolated to 28, "
        f"the outer parts counted once. Tokens a second, medians of {options.rounds} alternating rounds, and beside "
        f"them the median ratio to {first} (for llama.cpp, measured after the others, the ratio of medians). "
        "Decoding at a "
        f"context of 64 tokens; threads: {torch.get_num_threads()}. Each in its own chunks: the engine reads {PROMPT} "
        f"tokens of a prompt at a time where weights are quantised, {PROMPT // 2} where not. Weights: memory at the "
        "full size. "
        "llama-cpp-python 0.3.36 is built from source with AVX-512 (VBMI, VNNI, BF16) and without AMX.\n"
    )
    columns = [
        "",
        "weights",
        *(f"{w.split()[0]}, {w.split()[1]} {'streams' if 'dec' in w else 'tokens'}" for w in WORK),
    ]
    columns += ["prefill, each in its own chunks", "eight streams over one"]
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows)])


def prepare(folder: Path, layers: int) -> None:
    """Make the slice and quantise it, unless it is there."""
    if not (folder / "bf16").exists():
        random_weights.write(folder / "bf16", layers)
    for bits in (8, 4):
        if not (folder / f"int{bits}").exists():
            quantise(folder / "bf16", folder / f"int{bits}", bits)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the slices are made, and found again; default: thrown away")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="default: as torch has it")
    parser.add_argument("--also", nargs="*", default=[], help="another --dtype for the weights of 16 bits: bfloat16")
    parser.add_argument("--llama", default="", help="interpreter with llama-cpp-python and gguf")
    parser.add_argument("--prepare", action="store_true", help="only make the slices")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        prepare(folder, options.layers)
        if options.prepare:
            return 0
        found = measure(folder, options.layers, options.rounds, tuple(options.also))
        say(json.dumps(found))
        if options.llama:
            found |= llama(options.llama, folder, options.layers, options.rounds)
            say(json.dumps(found))
    shown = " ".join(word for word in sys.argv[1:] if os.sep not in word)
    body = document(found, options, f"python -m tests.bench.inference_large {shown}", on)
    say(json.dumps(found))
    say(body)
    if options.write:
        report.write("inference-large", "ChatGLM3-6B by precision", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
