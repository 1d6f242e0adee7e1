"""A database whose records have their places, and its verification."""

import asyncio
from pathlib import Path

from audit.sequencer import Sequencer, SequencerLimits
from audit.signing import SigningKeys
from audit.verification.database import Trust, verify_database
from audit.verification.helpers import Help
from audit.verify import parse_keys
from gateway.database import make_engine
from tests.contract.audit.conftest import MASTER, opened
from tests.contract.audit.turns import accepted, completed, released

SMALL = SequencerLimits(batch=300, cadence_s=0.02, pause_s=0.0)


def trust_of(folder: Path, *outside: str, master=MASTER) -> Trust:
    signers = SigningKeys(folder).load()
    keys = parse_keys("\n".join(map(str, signers.known)).encode())
    kept = tuple((f"kept-{at}", note.encode()) for at, note in enumerate(outside))
    return Trust(origin=signers.origin, keys=tuple(keys), outside=kept, master_key=master)


async def verified(database: str, trust: Trust, help_: Help | None = None):
    engine, found = make_engine(database), []
    try:
        summary = await verify_database(engine, trust, found.append, help_=help_, alone=help_ is not None)
    finally:
        await engine.dispose()
    assert summary.ok == (not found)
    assert summary.findings == len(found)
    return summary, found


async def named(database: str, trust: Trust) -> list[tuple[str, int | None, int | None]]:
    return [(one.code, one.record, one.last) for one in (await verified(database, trust))[1]]


async def sequence(database: str, folder: Path, batch: int = 1000) -> None:
    engine = make_engine(database)
    try:
        await Sequencer(engine, SigningKeys(folder), SequencerLimits(batch=batch, pause_s=0)).catch_up()
    finally:
        await engine.dispose()


async def fill(database: str, folder: Path, turns: int, batch: int = 50, prefix: str = "t") -> None:
    async with opened(database) as log:
        await asyncio.gather(
            *(
                log.append(
                    accepted(f"{prefix}{at}", message=f"问题 {at}", subject=f"p{at % 5}", history=(f"one {at}", "two")),
                    released("One.", 0, f"{prefix}{at}", subject=f"p{at % 5}"),
                    completed("One.", f"{prefix}{at}", withheld="Two.", subject=f"p{at % 5}"),
                )
                for at in range(turns)
            )
        )
    await sequence(database, folder, batch)


async def add(log, count: int, prefix: str = "t") -> list[str]:
    receipts = await asyncio.gather(*(log.append(accepted(f"{prefix}{at}")) for at in range(count)))
    return [one.entry_id for (one,) in receipts]
