"""A process that appends turns until it is killed; prints each turn's step once the log has acknowledged it."""

import asyncio
import sys

from audit.ports import AuditUnavailableError
from tests.contract.audit.conftest import opened
from tests.contract.audit.turns import accepted, completed, released


async def talk(log, prefix: str, worker: int, count: int) -> None:
    for number in range(count):
        turn = f"{prefix}-{worker}-{number}"
        subject = f"user-{number % 5}"
        await log.append(accepted(turn, subject=subject, history=("Shared start",)))
        sys.stdout.write(f"{turn} accepted 0\n")
        offset = 0
        for text in ("One. ", "Two. "):
            await log.append(released(text, offset, turn, subject=subject))
            offset += len(text)
            sys.stdout.write(f"{turn} released {offset}\n")
        await log.append(completed("One. Two. ", turn, subject=subject))
        sys.stdout.write(f"{turn} completed {offset}\n")


async def main(database: str, prefix: str, workers: int, count: int) -> None:
    async with opened(database) as log:
        sys.stdout.write("started\n")
        await asyncio.gather(*(talk(log, prefix, worker, count) for worker in range(workers)))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    except AuditUnavailableError as error:
        sys.exit(str(error))
