"""The load, a process of its own: `python -m tests.bench.load HOST PORT --lang en --concurrency 32 --seconds 20`.

The bearer token comes on standard input. Prints one JSON object; with `--every`, one line for each window as well.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator

from tests.bench.client import Answer, Connection, Target


def say(line: str) -> None:
    """Print a line at once: somebody reads along."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile in milliseconds."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2) if ordered else 0.0


def summary(answers: list[Answer], seconds: float) -> dict[str, float]:
    """Figures of a set of turns."""
    total = [answer.total for answer in answers]
    return {
        "turns": len(answers),
        "per_s": round(len(answers) / seconds, 1) if seconds else 0.0,
        "p50_ms": percentile(total, 0.5),
        "p99_ms": percentile(total, 0.99),
        "max_ms": percentile(total, 1.0),
        "mean_ms": round(statistics.fmean(total) * 1000, 2) if total else 0.0,
        "first_p50_ms": percentile([answer.first for answer in answers], 0.5),
        "errors": sum(answer.status != 200 for answer in answers),
        "blocked": sum(answer.blocked for answer in answers),
    }


async def worker(target: Target, numbers: Iterator[int], until: float, most: int, out: list[Answer]) -> None:
    connection = Connection(target)
    while time.monotonic() < until and len(out) < most:
        request = target.request(next(numbers))
        out.append(await connection.ask(request))
    await connection.close()


async def arrivals(target: Target, options: argparse.Namespace, out: list[Answer]) -> None:
    """Send so many turns a second, whatever becomes of those before; a turn's time counts from when it was due."""
    free: list[Connection] = []
    running: set[asyncio.Task[None]] = set()
    start = time.monotonic()

    async def one(number: int, due: float) -> None:
        connection = free.pop() if free else Connection(target)
        late = max(0.0, time.monotonic() - due)
        answer = await connection.ask(target.request(number))
        out.append(dataclasses.replace(answer, total=answer.total + late, first=answer.first + late))
        free.append(connection)

    for nth in range(int(options.seconds * options.rate)):
        due = start + nth / options.rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(one(options.start + nth, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for connection in free:
        await connection.close()


async def windows(answers: list[Answer], every: float) -> None:
    """Print the figures of each window while the load runs."""
    done = 0
    while True:
        await asyncio.sleep(every)
        now = len(answers)
        say(json.dumps(summary(answers[done:now], every)))
        done = now


async def run(options: argparse.Namespace, token: str) -> dict[str, float]:
    target = Target(options.host, options.port, token, options.lang, options.stream)
    answers: list[Answer] = []
    numbers = itertools.count(options.start)
    start = time.monotonic()
    watching = asyncio.create_task(windows(answers, options.every)) if options.every else None
    if options.rate:
        await arrivals(target, options, answers)
    else:
        until = start + options.seconds
        workers = (worker(target, numbers, until, options.count, answers) for _ in range(options.concurrency))
        await asyncio.gather(*workers)
    if watching is not None:
        watching.cancel()
    return summary(answers, time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--lang", choices=("en", "zh"), default="en")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="turns a second, instead of so many at once")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--start", type=int, default=0, help="number of the first prompt")
    parser.add_argument("--every", type=float, default=0.0, help="print figures every so many seconds")
    options = parser.parse_args()
    say(json.dumps(asyncio.run(run(options, sys.stdin.readline().strip()))))


if __name__ == "__main__":
    main()
