"""`make bench`: what a governed turn costs, measured on the real gateway with a scripted model behind it.

`python -m tests.bench [--minutes N] [--no-litellm] [--no-write]`. Load comes from a process of its own.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.bench.client import Target
from tests.bench.load import percentile, say
from tests.bench.processes import BenchError, Server, gateway, litellm, upstream
from tests.bench.sentence_release import SlowModel, measure, serve
from tests.rig.ports import free_port

Figures = dict[str, Any]
SLICES, SLICE_S = 6, 4.0
GOALS = {
    "en p50": 20.0,
    "en p99": 60.0,
    "zh p50": 40.0,
    "turns/s": 100.0,
    "release p50": 15.0,
    "memory": 400.0,
}


class Load:
    """Runs loads one after another, each in a process of its own, never with a prompt that was used before."""

    def __init__(self) -> None:
        self._next = 0

    def run(self, server: Server, *arguments: str, count: int = 0, room: int = 0) -> list[Figures]:
        """Return the printed figures; the last is the summary."""
        command = [sys.executable, "-m", "tests.bench.load", "127.0.0.1", str(server.port), *arguments]
        command += ["--start", str(self._next)] + (["--count", str(count)] if count else [])
        self._next += max(count, room) + 64
        done = subprocess.run(command, input=server.token + "\n", capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"the load failed: {done.stderr[-600:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def latencies(load: Load, server: Server, direct: Server, turns: int) -> list[Figures]:
    """One turn after another, en and zh, streamed and not; `added` is beyond what the model itself takes."""
    found = []
    for lang in ("en", "zh"):
        for stream in (False, True):
            arguments = ["--lang", lang] + (["--stream"] if stream else [])
            load.run(server, *arguments, count=30)
            bare = load.run(direct, *arguments, count=turns)[-1]
            figures = load.run(server, *arguments, count=turns)[-1]
            figures |= {"lang": lang, "stream": stream, "direct_p50_ms": bare["p50_ms"]}
            figures["added_p50_ms"] = round(figures["p50_ms"] - bare["p50_ms"], 2)
            figures["added_p99_ms"] = round(figures["p99_ms"] - bare["p50_ms"], 2)
            found.append(figures)
            say(f"  {lang} {'streamed' if stream else 'whole'}: {json.dumps(figures)}")
    return found


def throughput(load: Load, server: Server, seconds: float, lang: str) -> Figures:
    """32 turns at once."""
    load.run(server, "--lang", lang, "--concurrency", "32", "--seconds", "3", room=20_000)
    cpu = server.cpu_s()
    figures = load.run(server, "--lang", lang, "--concurrency", "32", "--seconds", str(seconds), room=200_000)[-1]
    figures["cpu_ms_per_turn"] = round((server.cpu_s() - cpu) * 1000 / max(1, figures["turns"]), 2)
    say(f"  {lang}: {json.dumps(figures)}")
    return figures


def flatness(load: Load, server: Server, minutes: float) -> list[Figures]:
    """Latency by window over some minutes of concurrency 32, with memory before and after."""
    before = server.memory_mb()
    seconds, every = minutes * 60, max(5.0, minutes * 6)
    windows = load.run(server, "--concurrency", "32", "--seconds", str(seconds), "--every", str(every), room=1_000_000)[
        :-1
    ]
    after = server.memory_mb()
    say(f"  memory {before} -> {after} MB; " + ", ".join(f"{window['p50_ms']}" for window in windows))
    return [{"before_mb": before, "after_mb": after, "every_s": every}, *windows]


def budget_cost(load: Load, folder: Path, model: Server, server: Server) -> Figures:
    """What budgets cost: 32 at once in slices that alternate with those of a gateway without any."""
    with gateway(folder, model.port, settings={"ATTEST_BUDGETS": ""}) as bare:
        load.run(bare, "--concurrency", "32", "--seconds", "3", room=20_000)
        slices: dict[str, list[Figures]] = {"with": [], "without": []}
        for at in range(SLICES):
            for name, one in (("with", server), ("without", bare))[:: 1 - 2 * (at % 2)]:
                slices[name].append(throughput(load, one, SLICE_S, "en"))
    found = {
        name: {
            "per_s": round(statistics.median(one["per_s"] for one in many), 1),
            "cpu_ms_per_turn": round(statistics.median(one["cpu_ms_per_turn"] for one in many), 2),
        }
        for name, many in slices.items()
    }
    say(f"  {json.dumps(found)}")
    return found


async def release(folder: Path, turns: int) -> Figures:
    """Wait of a complete sentence, en and zh."""
    model, port = SlowModel(), free_port()
    runner = await serve(model, port)
    found: Figures = {}
    running = gateway(folder, port)
    try:
        server = await asyncio.to_thread(running.__enter__)
        try:
            for lang in ("en", "zh"):
                target = Target("127.0.0.1", server.port, server.token, lang, stream=True)
                await measure(model, target, 5)
                waits = await measure(model, target, turns)
                found[lang] = {"turns": len(waits), "p50": percentile(waits, 0.5), "p99": percentile(waits, 0.99)}
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    finally:
        await runner.cleanup()
    say(f"  {json.dumps(found)}")
    return found


def peer(load: Load, folder: Path, model: Server) -> list[Figures]:
    """LiteLLM's proxy, pass-through, beside us in the same run."""
    with litellm(folder, model.port) as server:
        load.run(server, count=30)
        one = load.run(server, count=200)[-1]
        many = load.run(server, "--concurrency", "32", "--seconds", "10", room=20_000)[-1]
        many["memory_mb"] = server.memory_mb()
    say(f"  LiteLLM: {json.dumps(one)} {json.dumps(many)}")
    return [one, many]


def latency_table(found: list[Figures]) -> str:
    """Latency at concurrency 1 as a table."""
    rows: list[list[object]] = []
    for figures in found:
        goal = f"≤ {GOALS['en p50']:.0f} / ≤ {GOALS['en p99']:.0f}" if figures["lang"] == "en" else "≤ 40 / –"
        rows.append(
            [
                figures["lang"],
                "streamed" if figures["stream"] else "whole",
                f"{figures['added_p50_ms']} / {figures['added_p99_ms']}",
                goal,
                figures["first_p50_ms"] if figures["stream"] else "–",
                figures["errors"],
                figures["blocked"],
            ]
        )
    columns = ["language", "answer", "added p50 / p99, ms", "goal, ms", "first text p50, ms", "errors", "blocked"]
    return report.table(columns, rows)


def throughput_table(many: Figures) -> str:
    """32 turns at once as a table."""
    columns = ["32 turns at once", "turns/s", "p50, ms", "p99, ms", "gateway CPU, ms a turn", "errors", "blocked"]
    names = ("per_s", "p50_ms", "p99_ms", "cpu_ms_per_turn", "errors", "blocked")
    labels = {"en": f"en (goal ≥ {GOALS['turns/s']:.0f}/s)", "zh": "zh"}
    return report.table(columns, [[labels[lang], *(many[lang][name] for name in names)] for lang in labels])


def peer_lines(found: Figures) -> str:
    """Compare with LiteLLM's proxy."""
    one, many = found["peer"]
    ours, en = found["latency"][0], found["many"]["en"]
    return (
        "LiteLLM's proxy (1.106.2, one worker, pass-through: no guardrails, no database) in the same run: "
        f"{many['per_s']} requests/s at 32, p50 {one['p50_ms']} ms at 1, {many['memory_mb']} MB. A governed turn "
        f"through Attest has {round(en['per_s'] / many['per_s'], 2)} × its throughput and "
        f"{round(ours['p50_ms'] / one['p50_ms'], 2)} × its latency.\n"
    )


def document(found: Figures, command: str, on: str) -> str:
    """Put all figures into the part of docs/benchmarks.md."""
    flat, wait = found["flat"], found["release"]
    intro = (
        "The real gateway (bearer token, limits, budgets of person and group by day and month, normaliser, filters and "
        "classifier before and after, durable records on SQLite) before a scripted model that answers at once: "
        "80-character prompts, 200-character answers in three sentences, every text different. *Added* is the time "
        "beyond the scripted model's own "
        f"({found['latency'][0]['direct_p50_ms']} ms).\n"
    )
    released = "; ".join(f"{lang} {wait[lang]['p50']} / {wait[lang]['p99']} ms" for lang in ("en", "zh"))
    steady = (
        f"Flat over {found['minutes']:g} minutes at 32 (windows of {flat[0]['every_s']:.0f} s): p50 "
        + ", ".join(str(window["p50_ms"]) for window in flat[1:])
        + f" ms; resident memory {flat[0]['before_mb']} MB before, {flat[0]['after_mb']} MB after "
        f"(goal ≤ {GOALS['memory']:.0f}; torch loaded: {'yes' if found['torch'] else 'no'}).\n"
    )
    cost = found["budgets"]
    budgets = (
        f"Budgets: {cost['with']['per_s']} turns/s and {cost['with']['cpu_ms_per_turn']} ms of processor time a turn "
        f"with them, {cost['without']['per_s']} and {cost['without']['cpu_ms_per_turn']} without (medians of {SLICES} "
        f"alternating slices of {SLICE_S:.0f} s).\n"
    )
    parts = [
        report.heading(command, on),
        intro,
        latency_table(found["latency"]),
        throughput_table(found["many"]),
        budgets,
        f"From the model's first complete sentence to its release, p50 / p99: {released} (goal: p50 ≤ 15 ms).\n",
        steady,
    ]
    return "\n".join([*parts, peer_lines(found)] if "peer" in found else parts)


def collect(options: argparse.Namespace, folder: Path) -> Figures:
    """Run every part."""
    load = Load()
    found: Figures = {"minutes": options.minutes}
    with upstream(folder) as model:
        with gateway(folder, model.port) as server:
            say("one turn after another")
            found["latency"] = latencies(load, server, model, options.turns)
            say("32 at once")
            found["many"] = {lang: throughput(load, server, options.seconds, lang) for lang in ("en", "zh")}
            say(f"flat over {options.minutes} minutes")
            found["flat"] = flatness(load, server, options.minutes)
            found["torch"] = server.imports_torch()
            say("with and without budgets")
            found["budgets"] = budget_cost(load, folder, model, server)
        if options.litellm:
            say("LiteLLM")
            found["peer"] = peer(load, folder, model)
    say("from complete sentence to release")
    found["release"] = asyncio.run(release(folder, min(options.turns, 60)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the flatness run (10 before a release)")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a throughput run")
    parser.add_argument("--turns", type=int, default=200, help="turns of a latency run")
    parser.add_argument("--no-litellm", dest="litellm", action="store_false")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as name:
        try:
            found = collect(options, Path(name))
        except BenchError as error:
            say(f"The benchmark could not run: {error}")
            return 1
    body = document(found, "python -m tests.bench " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("turn", "A governed turn", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
