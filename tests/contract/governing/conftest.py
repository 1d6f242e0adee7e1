"""A log with its sequencer, and the parts that govern it, on either database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.erasure import Erasures
from audit.fsck import Fsck
from audit.governing import Governor
from audit.hold import Holds
from audit.ledger import ErasureLedger
from audit.log import SqlAuditLog
from audit.record import Entry
from audit.retention import MINIMUM, Keeping, Retention
from audit.sequencer import Sequencer
from audit.signing import SigningKeys
from audit.writers import postgres, sqlite
from gateway.database import make_engine
from gateway.history.erasure import HistoryOfPerson
from tests.contract.audit.conftest import MASTER, Raw
from tests.contract.audit.turns import accepted, completed, released

OLD = timedelta(days=200)


class Log:
    """What the tests do with a log."""

    def __init__(self, engine: AsyncEngine, log: SqlAuditLog, keys: SigningKeys) -> None:
        self.engine, self.log, self.keys = engine, log, keys
        self.append = log.append
        self.turn = log.turn

    async def add_turn(self, turn: str, subject: str = "alice", *, age: timedelta = timedelta(0), **fields) -> None:
        """Append a whole turn as if it had happened some time ago."""
        at = datetime.now(UTC) - age
        fields = {"subject": subject, "at": at, **fields}
        await self.append(accepted(turn, f"Question of {turn}", **fields))
        fields = {name: value for name, value in fields.items() if name in ("subject", "at")}
        await self.append(released(f"Answer of {turn}", 0, turn, **fields))
        await self.append(completed(f"Answer of {turn}", turn, **fields))

    async def sign(self, steps: int = 100) -> int:
        """Give every record its place, a thousand in a step; return the size of the signed tree."""
        sequencer = Sequencer(self.engine, self.keys)
        for _ in range(steps):
            if not await sequencer.step():
                break
        return sequencer.status.tree_size

    async def flaws(self) -> list[tuple[str, int | None]]:
        """Rebuild every hash, after whatever waits has its place."""
        await self.sign()
        signers = self.keys.load_or_create()
        return [(flaw.what, flaw.index) async for flaw in Fsck(self.engine, signers).flaws()]

    async def records(self, *kinds: str) -> list[Entry]:
        return [entry async for entry in self.log.entries(kinds)]


@pytest.fixture
def raw(database: str) -> Raw:
    return Raw(database)


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(database)
    yield engine
    await engine.dispose()


@pytest.fixture
async def log(engine: AsyncEngine, tmp_path) -> AsyncIterator[Log]:
    async with SqlAuditLog(engine, MASTER) as log:
        yield Log(engine, log, SigningKeys(tmp_path / "signing"))


@pytest.fixture
def governor(engine: AsyncEngine) -> Governor:
    return Governor(engine)


@pytest.fixture
def holds(governor: Governor) -> Holds:
    return Holds(governor)


@pytest.fixture
def ledger(tmp_path) -> ErasureLedger:
    return ErasureLedger(tmp_path / "erasures.ledger")


@pytest.fixture
def erasures(governor: Governor, ledger: ErasureLedger) -> Erasures:
    return Erasures(governor, ledger, (HistoryOfPerson(),))


@pytest.fixture
def meanwhile(monkeypatch) -> Callable[[Callable[[], Awaitable[object]]], list[object]]:
    """Have something done once, between a writer's look at the database and its commit; gives what came of it."""

    def once(work: Callable[[], Awaitable[object]]) -> list[object]:
        loop, done = asyncio.get_running_loop(), []
        look_up, known_texts = postgres.look_up, sqlite.known_texts

        async def look_up_and_work(*values):
            found = await look_up(*values)
            if not done:
                done.append(None)
                done[0] = await work()
            return found

        def known_and_work(*values):
            found = known_texts(*values)
            if not done:
                done.append(None)
                done[0] = asyncio.run_coroutine_threadsafe(work(), loop).result(20)
            return found

        monkeypatch.setattr(postgres, "look_up", look_up_and_work)
        monkeypatch.setattr(sqlite, "known_texts", known_and_work)
        return done

    return once


async def erase(erasures: Erasures, subject: str = "alice"):
    """Erase a person, as the command does."""
    await erasures.check(subject, "GDPR-4")
    return await erasures.carry_out((await erasures.request(subject, "GDPR-4", "cli:carol")).erasure_id)


@pytest.fixture
def retention(governor) -> Retention:
    return Retention(governor, Keeping(MINIMUM))
