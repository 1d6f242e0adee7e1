"""`python -m tests.bench.second_opinion [--texts N] [--no-write]`: what a second opinion changes and what it costs.

Labelled requests of harm/dev.jsonl.gz under ATTEST_SOAK_DATA (default ../shared/data; not in the repository) go
through the whole layer. For each that is uncertain and may otherwise pass, two judges are asked: one that knows the
label, which is the most that any judge could bring, and the demo model behind a real inference tier, which is honest
about how little a model of its size brings.
"""

import argparse
import asyncio
import gzip
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.judge import ModelJudge
from inference.openai_compat import OpenAICompatModel
from safety.compose import build_safety
from safety.policy_shape import SecondOpinionRule
from safety.ports import Direction, TurnContext
from safety.second_opinion import HARMFUL, HARMLESS, Judge, Question, SecondOpinion, uncertain_verdicts
from safety.verdict import Decision, StageStatus
from tests.bench import report
from tests.bench.load import percentile, say
from tests.bench.processes import running, wait
from tests.rig.ports import free_port

TIMEOUT_S = 10.0
CONTEXT = TurnContext(direction=Direction.INPUT)


@dataclass(frozen=True)
class Text:
    """A labelled text between the two thresholds, and what the layer made of it."""

    text: str
    harmful: bool
    decision: Decision


class KnowingJudge:
    """Answers with the label of the text that is asked about next."""

    def __init__(self) -> None:
        self.harmful = False

    async def answer(self, _: Question) -> str:
        return HARMFUL if self.harmful else HARMLESS

    async def close(self) -> None:
        return None


@dataclass(frozen=True)
class Opinions:
    """What one judge said about all uncertain texts."""

    fates: Counter[str]
    """`harmful blocked`, `harmless passed`, `harmful no answer`, ..."""
    seconds: list[float]


async def uncertain(count: int) -> tuple[list[Text], Counter[str]]:
    """Examine a fixed choice of texts; return the uncertain ones, and how many of each kind there were."""
    folder = Path(os.environ.get("ATTEST_SOAK_DATA", "../shared/data"))
    with gzip.open(folder / "harm" / "dev.jsonl.gz", "rt") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    prompts = [row for row in rows if row["role"] == "prompt"]
    layer = build_safety(guard_timeout_s=60)
    found, seen = [], Counter[str]()
    for row in random.Random(11).sample(prompts, min(count, len(prompts))):
        decision = await layer.examine(row["text"], CONTEXT)
        kind = "harmful" if row["labels"] else "harmless"
        seen[kind] += 1
        seen[f"{kind} blocked"] += decision.blocked
        if uncertain_verdicts(decision):
            found.append(Text(row["text"], bool(row["labels"]), decision))
    await layer.close()
    return found, seen


async def ask(judge: Judge, texts: list[Text]) -> Opinions:
    """Ask a judge about each text, one after another."""
    opinion = SecondOpinion(judge, SecondOpinionRule(enabled=True, timeout_s=TIMEOUT_S))
    fates, seconds = Counter[str](), []
    for text in texts:
        if isinstance(judge, KnowingJudge):
            judge.harmful = text.harmful
        began = time.perf_counter()
        examination = await opinion.examine(text.text, uncertain_verdicts(text.decision))
        seconds.append(time.perf_counter() - began)
        kind = "harmful" if text.harmful else "harmless"
        if examination.status is not StageStatus.RAN:
            fates[f"{kind} no answer"] += 1
        else:
            fates[f"{kind} {'blocked' if examination.findings else 'passed'}"] += 1
    await opinion.close()
    return Opinions(fates, seconds)


@contextmanager
def demo_tier() -> Iterator[OpenAICompatModel]:
    """Run the inference tier with the demo model."""
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as name:
        port, log = free_port(), Path(name) / "inference.log"
        command = [sys.executable, "-m", "gateway", "inference", "--host", "127.0.0.1", "--port", str(port)]
        with running(command, log, {"ATTEST_DATA_DIR": name}) as process:
            wait(f"http://127.0.0.1:{port}/health", process, 300, log)
            yield OpenAICompatModel(f"http://127.0.0.1:{port}/v1")


async def by_demo(texts: list[Text]) -> Opinions:
    """Ask the demo model."""
    with demo_tier() as model:
        name = (await model.models())[0].name

        async def named() -> str:
            return name

        return await ask(ModelJudge(model, named, model.close), texts)


def row(name: str, opinions: Opinions) -> list[object]:
    """One judge as a row of the table."""
    fates = opinions.fates
    return [
        name,
        f"{fates['harmful blocked']} / {fates['harmful passed']} / {fates['harmful no answer']}",
        f"{fates['harmless blocked']} / {fates['harmless passed']} / {fates['harmless no answer']}",
        f"{percentile(opinions.seconds, 0.5)} / {percentile(opinions.seconds, 0.99)}",
    ]


def document(found: dict[str, Any], command: str, on: str) -> str:
    """Put the figures into words."""
    seen, texts = found["seen"], found["texts"]
    total, harmful = seen["harmful"] + seen["harmless"], sum(text.harmful for text in texts)
    asked = (
        f"{total} labelled requests through the whole layer: of {seen['harmful']} harmful ones "
        f"{seen['harmful blocked']} are blocked, of {seen['harmless']} harmless ones {seen['harmless blocked']}. A "
        f"judge is asked where the score lies between the thresholds: {len(texts)} ({100 * len(texts) / total:.1f} %), "
        f"{harmful} of them harmful.\n"
    )
    columns = [
        "judge",
        "harmful: blocked / passed / no answer",
        "harmless: blocked / passed / no answer",
        "p50 / p99, ms",
    ]
    judges = [row("knows the label", found["knowing"]), row("demo model", found["demo"])]
    meaning = (
        "What is blocked here is a verdict that the judge changed. No answer is anything but one of the two letters: "
        "the policy's `failures` decides then, and blocks by default.\n"
    )
    return "\n".join([report.heading(command, on), asked, report.table(columns, judges), meaning])


async def measure(count: int) -> dict[str, Any]:
    """Find the uncertain texts and ask both judges."""
    texts, seen = await uncertain(count)
    say(f"{len(texts)} uncertain texts")
    return {
        "texts": texts,
        "seen": seen,
        "knowing": await ask(KnowingJudge(), texts),
        "demo": await by_demo(texts),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000, help="labelled requests to examine")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    found = asyncio.run(measure(options.texts))
    body = document(found, "python -m tests.bench.second_opinion " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("second_opinion", "A second opinion", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
