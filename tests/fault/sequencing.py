"""Processes that append and sequence until they are killed, in the sequencer or in the writer of records; warm ones,
forked, so that hundreds fit into a test.

    python -m tests.fault.sequencing DATABASE FOLDER KILLS SEED      kill at random moments
    python -m tests.fault.sequencing DATABASE FOLDER at STEP         be killed at a named step, once early, once late
    python -m tests.fault.sequencing DATABASE FOLDER race N COUNT    N at once, COUNT turns each worker, nobody killed

Each process writes the ids of the records that were acknowledged to FOLDER/acknowledged, a line each. The keys are in
FOLDER/signing.
"""

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import audit.sequencer
import audit.signing
import audit.writers.sqlite
from audit.fsck import Fsck
from audit.log import SqlAuditLog
from audit.rows import Rows
from audit.sequencer import Sequencer, SequencerLimits
from audit.signing import SigningKeys
from audit.writers.postgres import PostgresWriter
from audit.writers.sqlite import SqliteWriter
from gateway.database import make_engine
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted, completed

FAST = SequencerLimits(cadence_s=0.005, batch=40, pause_s=0.0)
WORKERS = 6


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: object, name: str, *, after: bool, async_: bool) -> Callable[[int], None]:
    """Return what makes the Nth call of a function the last thing that the process does."""

    def arm(nth: int) -> None:
        real, calls = getattr(owner, name), 0

        def due() -> bool:
            nonlocal calls
            calls += 1
            return calls >= nth

        async def waiting(*arguments: object, **named: object) -> object:
            last = due()
            if last and not after:
                die()
            result = await real(*arguments, **named)
            if last:
                die()
            return result

        def plain(*arguments: object, **named: object) -> object:
            last = due()
            if last and not after:
                die()
            result = real(*arguments, **named)
            if last:
                die()
            return result

        setattr(owner, name, waiting if async_ else plain)

    return arm


def _both(*arms: Callable[[int], None]) -> Callable[[int], None]:
    """Return what arms a step that the writers of the two databases come to by different functions."""

    def arm(nth: int) -> None:
        for one in arms:
            one(nth)

    return arm


def _at_the_last_row(nth: int) -> None:
    """Kill the Nth commit: on SQLite after its last row and before COMMIT, on PostgreSQL before its one statement."""
    commits = itertools.count(1)

    class Ending(dict[str, str]):
        def items(self) -> Iterator[tuple[str, str]]:  # type: ignore[override]
            yield from super().items()
            if next(commits) >= nth:
                die()

    audit.writers.sqlite.INSERT = Ending(audit.writers.sqlite.INSERT)  # type: ignore[misc]
    _around(Rows, "merge_turns", after=True, async_=False)(nth)


STEPS = {
    "before the lock": _around(audit.sequencer, "take_lock", after=False, async_=True),
    "with the lock": _around(audit.sequencer, "take_lock", after=True, async_=True),
    "records read": _around(audit.sequencer, "unsequenced", after=True, async_=True),
    "tree signed": _around(audit.sequencer, "signed", after=True, async_=False),
    "indices given": _around(audit.sequencer, "give_indices", after=True, async_=True),
    "everything stored, not committed": _around(audit.sequencer, "store", after=True, async_=True),
    "committed, not remembered": _around(SigningKeys, "signed", after=False, async_=False),
    "draft of last.checkpoint": _around(Path, "replace", after=False, async_=False),
    "remembered": _around(SigningKeys, "signed", after=True, async_=False),
    "keys read": _around(SigningKeys, "load_or_create", after=True, async_=False),
    "key drafted": _around(audit.signing.os, "link", after=False, async_=False),
    "records written, not committed": _at_the_last_row,
    "records committed, not settled": _both(
        _around(SqliteWriter, "_check_still_there", after=False, async_=False),
        _around(PostgresWriter, "_try_commit", after=True, async_=True),
    ),
    "records settled, nobody told": _around(SqlAuditLog, "_settle", after=False, async_=False),
}


async def work(database: str, folder: Path, name: str, turns: int) -> None:
    """Append turns and sequence them; end when that many are acknowledged by each worker."""
    engine = make_engine(database)
    sequencer = Sequencer(engine, SigningKeys(folder / "signing"), FAST)
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def talk(worker: int) -> None:
        for number in range(turns):
            turn = f"{name}-{worker}-{number}"
            for one in (accepted(turn), completed("x", turn)):
                (receipt,) = await log.append(one)
                os.write(acknowledged, f"{receipt.entry_id}\n".encode())

    async with opened(database) as log:
        await sequencer.start()
        await asyncio.gather(*(talk(worker) for worker in range(WORKERS)))
        await sequencer.close()
    await engine.dispose()


async def check(database: str, folder: Path) -> None:
    """Sequence what waits; then nothing may be wrong."""
    engine, keys = make_engine(database), SigningKeys(folder / "signing")
    await Sequencer(engine, keys, FAST).catch_up()
    flaws = [flaw async for flaw in Fsck(engine, keys.load()).flaws()]
    await engine.dispose()
    if flaws:
        sys.exit(f"fsck: {flaws[:5]}")


def forked(run: Callable[[], None]) -> int:
    """Run in a child; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        run()
    except SystemExit as ended:
        sys.stderr.write(f"{ended}\n")
        os._exit(1)
    except BaseException as error:  # noqa: BLE001 - a child never goes on as its parent
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def finished(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def sound(database: str, folder: Path) -> None:
    if finished(forked(lambda: asyncio.run(check(database, folder)))):
        sys.exit("the log is not sound")


def kill_at_random(database: str, folder: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    for number in range(kills):
        child = forked(lambda number=number: asyncio.run(work(database, folder, f"k{number}", 10**6)))
        time.sleep(dice.uniform(0.0, 0.3))
        os.kill(child, signal.SIGKILL)
        if finished(child) != -signal.SIGKILL:
            sys.exit("the process ended before it was killed")
        if number % 20 == 19:
            sound(database, folder)


def kill_at(database: str, folder: Path, step: str) -> None:
    for nth in (1, 7):

        def run(nth: int = nth) -> None:
            STEPS[step](nth)
            asyncio.run(work(database, folder, f"s{nth}", 30))

        ended = finished(forked(run))
        if ended != -signal.SIGKILL and nth == 1:
            sys.exit(f"nobody came to the step (exit code {ended})")
        sound(database, folder)


def race(database: str, folder: Path, count: int, turns: int) -> None:
    children = [
        forked(lambda number=number: asyncio.run(work(database, folder, f"r{number}", turns)))
        for number in range(count)
    ]
    if any([finished(child) for child in children]):  # noqa: C419 - each is waited for
        sys.exit("a process failed")
    sound(database, folder)


def main(database: str, folder: Path, *how: str) -> None:
    if how[0] == "at":
        kill_at(database, folder, how[1])
    elif how[0] == "race":
        race(database, folder, int(how[1]), int(how[2]))
    else:
        kill_at_random(database, folder, int(how[0]), int(how[1]))
    sound(database, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
