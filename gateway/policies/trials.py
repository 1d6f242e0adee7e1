"""A version tried on the history, in the background: bounded, one at a time in a gateway, resting beside the turns.

Nothing is asked of a model, and no second opinion is asked for: a candidate's judge could be anybody's server. What is
kept names turns by their ids alone.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

import msgspec
from sqlalchemy import insert, select, update

from audit.governing import Governor, moment, now_us
from audit.ports import AuditLog, TurnFilter
from audit.readers import Readers
from audit.record import Kind
from gateway.inquiry.desk import plainly
from gateway.inquiry.officer import AccessRecords, Detail, Officer, access_entry
from gateway.policies.tables import POLICY_TRIAL
from gateway.policies.versions import Version
from gateway.problems import OverloadedError
from gateway.replay import AfterEach, Changed, judged_once, replay
from gateway.telemetry import Telemetry
from safety.compose import Layers
from safety.pipeline import Pipeline
from safety.policy import parse_policy

DAYS = (1, 7, 30, 90)
MOST_TURNS = (100, 1000, 10_000)
"""How many turns may be tried, the newest."""
EXAMPLES = 100
"""Changed turns that are kept as examples: the stricter ones and the milder ones by turns."""
MOST_VALUES = 20
WRITTEN_S = 2.0
"""How often progress is written."""
LOST_S = 60.0
"""A trial that wrote nothing for so long is one whose gateway ended."""
RESTS = 1.0
"""Rest after each turn, as a multiple of the time that it took: turns of people come first."""


class State(StrEnum):
    """How a trial stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class Example(msgspec.Struct, frozen=True):
    """A turn that would end otherwise."""

    turn_id: str
    recorded: str
    now: str
    rules: tuple[str, ...]


class Tally(msgspec.Struct, frozen=True):
    """How many turns of one category or group would end otherwise."""

    value: str
    stricter: int
    milder: int


class Result(msgspec.Struct, frozen=True):
    """What came of a trial."""

    policy_hash: str
    turns: int
    unreadable: int
    stricter: int
    milder: int
    moves: tuple[tuple[str, str, int], ...]
    """Recorded verdict, new verdict, turns."""
    categories: tuple[Tally, ...]
    groups: tuple[Tally, ...]
    examples: tuple[Example, ...]
    unjudged: int = 0
    """Turns that cannot be judged again (`gateway.replay`)."""


class Trial(msgspec.Struct, frozen=True):
    """One trial; times in microseconds since 1970 UTC."""

    trial_id: str
    version_id: str
    asked_by: str
    since_us: int
    began_us: int
    seen_us: int
    total: int
    done: int
    state: State
    result: Result | None

    def standing(self, at_us: int) -> State:
        """How it stands: one that is silent for too long has stopped."""
        silent = at_us - self.seen_us > LOST_S * 1_000_000
        return State.STOPPED if self.state is State.RUNNING and silent else self.state


class Trials:
    """Begins them and keeps what came of them. Raises the errors of `gateway.problems`."""

    def __init__(
        self, governor: Governor, readers: Readers, log: AuditLog, layers: Layers, telemetry: Telemetry
    ) -> None:
        self._governor = governor
        self._readers = readers
        self._log = log
        self._access = AccessRecords(log)
        self._layers = layers
        self._telemetry = telemetry
        self._running: asyncio.Task[None] | None = None
        self._taken = False

    async def begin(self, officer: Officer, by: str, version: Version, *, days: int, most: int) -> Trial:
        """Begin one; that somebody asked for it is on record first. Raises `OverloadedError` while another runs."""
        if self._taken:
            raise OverloadedError("A trial is running already; wait for it.", retry_after=30)
        self._taken = True
        try:
            trial = await self._begun(officer, by, version, days, most)
        except BaseException:
            self._taken = False
            raise
        self._running = asyncio.create_task(self._run(trial, version.text, most))
        return trial

    async def _begun(self, officer: Officer, by: str, version: Version, days: int, most: int) -> Trial:
        at = now_us()
        since_us = at - int(timedelta(days=days).total_seconds() * 1_000_000)
        detail: Detail = {"policy": version.policy_hash, "version_id": version.version_id, "days": days, "limit": most}
        await self._access.append(access_entry(officer, Kind.ACCESS_SEARCH, detail | {"purpose": "dry-run"}))
        trial = Trial(self._governor.new_id(), version.version_id, by, since_us, at, at, 0, 0, State.RUNNING, None)
        with plainly():
            async with self._governor.transaction() as connection:
                values = msgspec.structs.asdict(trial) | {"state": trial.state.value, "result": ""}
                await connection.execute(insert(POLICY_TRIAL).values(**values))
        return trial

    async def newest(self, version_id: str) -> Trial | None:
        """Return the newest trial of a version."""
        trial = POLICY_TRIAL.c
        query = select(POLICY_TRIAL).where(trial.version_id == version_id).order_by(trial.trial_id.desc()).limit(1)
        with plainly():
            async with self._governor.reading() as connection:
                row = (await connection.execute(query)).first()
        if row is None:
            return None
        values = {str(name): value for name, value in row._mapping.items()}  # noqa: SLF001 - SQLAlchemy's public accessor
        values["result"] = msgspec.json.decode(values["result"]) if values["result"] else None
        return msgspec.convert(values, Trial)

    async def close(self) -> None:
        """Stop what runs."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running], timeout=10)

    async def _run(self, trial: Trial, text: str, most: int) -> None:
        try:
            result = await self._tried(trial, text, most)
            await self._write(trial.trial_id, state=State.DONE.value, result=msgspec.json.encode(result).decode())
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await self._write(trial.trial_id, state=State.STOPPED.value)
            raise
        except Exception as error:  # noqa: BLE001 - nobody waits for this task: the trial says that it failed
            self._telemetry.fault("trial", error)
            with contextlib.suppress(Exception):
                await self._write(trial.trial_id, state=State.FAILED.value)
        finally:
            self._taken = False

    async def _tried(self, trial: Trial, text: str, most: int) -> Result:
        def built() -> Pipeline:
            return self._layers.over(self._layers.completed(parse_policy(text)), second_opinion=False)

        safety = await asyncio.to_thread(built)
        turns = judged_once(await self._log.turns(TurnFilter(since=moment(trial.since_us), limit=most)))
        await self._write(trial.trial_id, total=len(turns))
        found = await replay(self._readers, safety, turns, self._pacing(trial.trial_id))
        await self._write(trial.trial_id, done=len(turns))
        changed = found.changed
        return Result(
            policy_hash=found.policy,
            turns=found.turns,
            unreadable=found.unreadable,
            stricter=found.stricter,
            milder=found.milder,
            moves=_moves(changed),
            categories=_tallies((value, one) for one in changed for value in one.categories),
            groups=_tallies((value, one) for one in changed for value in one.groups),
            examples=_examples(changed),
            unjudged=found.unjudged,
        )

    def _pacing(self, trial_id: str) -> AfterEach:
        """Return what writes the progress now and then, and rests as long as a turn took."""
        done, written = 0, time.monotonic()
        began = written

        async def after_each() -> None:
            nonlocal done, written, began
            done += 1
            took = time.monotonic() - began
            if time.monotonic() - written > WRITTEN_S:
                await self._write(trial_id, done=done)
                written = time.monotonic()
            await asyncio.sleep(took * RESTS)
            began = time.monotonic()

        return after_each

    async def _write(self, trial_id: str, **values: object) -> None:
        statement = update(POLICY_TRIAL).where(POLICY_TRIAL.c.trial_id == trial_id)
        async with self._governor.engine.begin() as connection:
            await connection.execute(statement.values(seen_us=now_us(), **values))


def _moves(changed: Iterable[Changed]) -> tuple[tuple[str, str, int], ...]:
    counted = Counter((one.recorded, one.now) for one in changed)
    return tuple((recorded, now, count) for (recorded, now), count in counted.most_common())


def _tallies(pairs: Iterable[tuple[str, Changed]]) -> tuple[Tally, ...]:
    stricter: Counter[str] = Counter()
    milder: Counter[str] = Counter()
    for value, one in pairs:
        (stricter if one.stricter else milder)[value] += 1
    values = sorted(stricter.keys() | milder.keys(), key=lambda value: (-stricter[value] - milder[value], value))
    return tuple(Tally(value, stricter[value], milder[value]) for value in values[:MOST_VALUES])


def _examples(changed: tuple[Changed, ...]) -> tuple[Example, ...]:
    """Return some of each kind, so that a thousand stricter turns do not hide one that would be let through."""
    milder = [one for one in changed if not one.stricter]
    stricter = [one for one in changed if one.stricter]
    half = EXAMPLES // 2
    room = max(half, EXAMPLES - len(milder))
    chosen = [*milder[: max(half, EXAMPLES - len(stricter))], *stricter[:room]][:EXAMPLES]
    return tuple(Example(one.turn_id, one.recorded, one.now, one.rules) for one in chosen)
