"""Delivery in the background: from the outbox to the search store, each record once in effect, nothing in its way.

A record is done when all its documents are there (made now, or found there: an earlier try). What the store cannot take
now waits, longer after each try and never at the same moment as others; what it refuses becomes a dead letter, and the
rest goes on. A store that is gone leaves the outbox as it is.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.elastic.rows import read_rows, sizes_of
from audit.elastic.samples import dead_letter_document, sample_document
from audit.keys import KeyFileError, MasterKey
from audit.outbox import LATEST_S, LEASE_S, Claim, Delay, Outbox, OutboxState
from audit.pace import Pace
from audit.packing import pack, parts
from audit.ports import AuditUnavailableError
from audit.ring import KeyRing
from audit.sinks.ports import Answer, Document, Fate, Sink, SinkUnavailableError


class DeliveryLimits(msgspec.Struct, frozen=True):
    """Bounds of delivery: memory, waits, how often it is looked at."""

    records: int = 1000
    """Records that are claimed at once."""
    part: int = 1000
    """Records of these that are made ready, sent and settled at once."""
    size_bytes: int = 8 * 2**20
    """Size of the documents in memory at once, roughly; one record that is larger goes alone."""
    idle_s: float = 0.5
    """Pause when nothing is due, in seconds."""
    first_wait_s: float = 0.5
    """Wait after the first failure; doubles with each one more."""
    longest_wait_s: float = 60.0
    """Longest wait for a store that is gone."""
    sample_s: float = 10.0
    """How often the outbox is counted, in seconds."""
    lanes: int = 3
    """Batches under way at once: one is made ready while the store takes the others."""
    rest: float = 0.0
    """Pause after each part, as a multiple of the time that it took: leaves the machine to running turns."""
    least_rest: float = 0.0
    """What the pause shrinks to while a backlog does not shrink steadily from sample to sample."""


class DeliveryWatch(Protocol):
    """Who is told how delivery goes. Reasons are stable codes."""

    def delivered(self, fate: str, count: int) -> None:
        """Count records that came to their end: `created | present | refused`."""

    def delayed(self, reason: str, count: int) -> None:
        """Count records that must wait."""

    def interrupted(self, reason: str) -> None:
        """Note that the store, the database or the master key cannot be used now."""

    def sampled(self, state: OutboxState) -> None:
        """Show what was counted in the outbox."""

    def fault(self, where: str, error: BaseException) -> None:
        """Note an error that nobody foresaw."""


class Delivery:
    """The delivery worker of one process; several may share an outbox."""

    def __init__(
        self,
        engine: AsyncEngine,
        master: MasterKey,
        sink: Sink,
        watch: DeliveryWatch,
        limits: DeliveryLimits | None = None,
    ) -> None:
        self._engine = engine
        self._sink = sink
        self._watch = watch
        self._limits = limits or DeliveryLimits()
        self._outbox = Outbox(engine)
        self._rings = [KeyRing(master) for _ in range(self._limits.lanes)]  # a ring is not safe across threads
        self._pace = Pace(self._limits.rest, self._limits.least_rest, self._limits.records)
        self._since_sample = dict.fromkeys(("delivered", "retried", "refused"), 0)

    async def run(self) -> None:
        """Deliver, and count the outbox, until cancelled. Never ends by itself, whatever fails."""
        async with asyncio.TaskGroup() as tasks:
            for ring in self._rings:
                tasks.create_task(self._keep_delivering(ring), name="audit-delivery")
            tasks.create_task(self._keep_sampling(), name="audit-delivery-samples")

    async def _keep_delivering(self, ring: KeyRing) -> None:
        failures = 0
        while True:
            asked_s = 0.0
            try:
                if not await self._round(ring):
                    await asyncio.sleep(self._limits.idle_s)
                failures = 0
                continue
            except SinkUnavailableError as error:
                self._watch.interrupted(error.reason)
                asked_s = min(error.retry_after_s, self._limits.longest_wait_s)
            except (AuditUnavailableError, KeyFileError) as error:
                self._watch.interrupted("master_key" if isinstance(error, KeyFileError) else "database")
            except Exception as error:  # noqa: BLE001 - delivery must go on
                self._watch.fault("delivery", error)
            await asyncio.sleep(max(asked_s, self._wait(failures)))
            failures += 1

    async def _keep_sampling(self) -> None:
        while True:
            try:
                await self.sample()
            except AuditUnavailableError:
                self._watch.interrupted("database")
            except Exception as error:  # noqa: BLE001 - the next sample tries again
                self._watch.fault("delivery sample", error)
            await asyncio.sleep(self._limits.sample_s)

    async def close(self) -> None:
        """Give up connections to the store."""
        await self._sink.close()

    async def drain(self) -> int:
        """Deliver what is due now; return how many records that were. Raises what `round` raises."""
        try:
            async with asyncio.TaskGroup() as tasks:
                lanes = [tasks.create_task(self._drain(ring)) for ring in self._rings]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return sum(lane.result() for lane in lanes)

    async def _drain(self, ring: KeyRing) -> int:
        total = 0
        while moved := await self._round(ring):
            total += moved
        return total

    async def round(self) -> int:
        """Claim, send and settle once; return how many records were claimed.

        Raises `SinkUnavailableError`, `AuditUnavailableError`, `KeyFileError`; then nothing that was claimed is lost.
        """
        return await self._round(self._rings[0])

    async def _round(self, ring: KeyRing) -> int:
        claimed_at = time.monotonic()
        claims = {claim.entry_id: claim for claim in await self._outbox.claim(self._limits.records)}
        if not claims:
            return 0
        left = dict(claims)
        try:
            async with self._reading() as connection:
                sizes = await sizes_of(connection, list(claims))
            for part in parts(sizes, records=self._limits.part, size_bytes=self._limits.size_bytes):
                if time.monotonic() - claimed_at > LEASE_S / 2:
                    break
                began = time.monotonic()
                await self._deliver([left[entry_id] for entry_id in part], ring)
                for entry_id in part:
                    del left[entry_id]
                await asyncio.sleep((time.monotonic() - began) * self._pace.rest)
        finally:
            if left:
                with contextlib.suppress(AuditUnavailableError):
                    await self._outbox.give_back(list(left))
        return len(claims)

    async def sample(self) -> OutboxState:
        """Count the outbox, tell whoever watches, and leave a sample in the store. Raises `AuditUnavailableError`."""
        state = await self._outbox.state()
        self._watch.sampled(state)
        self._pace.looked(state.pending)
        counts, self._since_sample = self._since_sample, dict.fromkeys(self._since_sample, 0)
        await self._tell([sample_document(datetime.now(UTC), state, counts)])
        return state

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The log cannot be read now ({type(error).__name__}).") from error

    async def _deliver(self, claims: Sequence[Claim], ring: KeyRing) -> None:
        """Send some claimed records and settle each by what became of its documents."""
        async with self._reading() as connection:
            rows = await read_rows(connection, [claim.entry_id for claim in claims])
        places = {row.entry_id: row.leaf_index for row in rows}
        packed = await asyncio.to_thread(pack, rows, ring)
        del rows  # only what is sent stays in memory while the store works
        answers = iter(await self._sink.deliver([one for _, several in packed.records for one in several]))
        fates = {entry_id: _worst([next(answers) for _ in several]) for entry_id, several in packed.records}
        fates |= {entry_id: Answer(Fate.REFUSED, why) for entry_id, why in packed.unfit.items()}
        later = {
            claim.entry_id: Delay(_later(claim.attempts, self._limits), fates[claim.entry_id].reason)
            for claim in claims
            if fates[claim.entry_id].fate is Fate.LATER
        }
        dead = {entry_id: one.reason for entry_id, one in fates.items() if one.fate is Fate.REFUSED}
        done = [entry_id for entry_id in fates if entry_id not in later and entry_id not in dead]
        await self._outbox.settle(done, later, dead)
        self._count(fates)
        if dead:
            now = datetime.now(UTC)
            await self._tell([dead_letter_document(now, one, places[one], why) for one, why in dead.items()])
        if later and not done and not dead:
            raise SinkUnavailableError(next(iter(later.values())).reason)

    async def _tell(self, documents: Sequence[Document]) -> None:
        """Leave something for the dashboards, where that is possible; nothing depends on it."""
        with contextlib.suppress(SinkUnavailableError):
            await self._sink.deliver([one.packed() for one in documents])

    def _count(self, fates: dict[str, Answer]) -> None:
        by_fate: dict[tuple[Fate, str], int] = {}
        for one in fates.values():
            key = (one.fate, one.reason if one.fate is Fate.LATER else "")
            by_fate[key] = by_fate.get(key, 0) + 1
        for (fate, reason), count in by_fate.items():
            if fate is Fate.LATER:
                self._watch.delayed(reason, count)
                self._since_sample["retried"] += count
            else:
                self._watch.delivered(fate.value, count)
                self._since_sample["refused" if fate is Fate.REFUSED else "delivered"] += count

    def _wait(self, failures: int) -> float:
        return _jittered(min(self._limits.longest_wait_s, self._limits.first_wait_s * 2 ** min(failures, 20)))


_ORDER = (Fate.REFUSED, Fate.LATER, Fate.CREATED, Fate.PRESENT)


def _worst(answers: Sequence[Answer]) -> Answer:
    """Return what became of a record with these documents; one without any has nothing left to deliver."""
    return min(answers, key=lambda one: _ORDER.index(one.fate), default=Answer(Fate.PRESENT))


def _later(attempts: int, limits: DeliveryLimits) -> int:
    """Return when a record is tried again, in microseconds."""
    wait = _jittered(min(LATEST_S, limits.first_wait_s * 2 ** min(attempts, 20)))
    return time.time_ns() // 1000 + int(wait * 1e6)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - spreads tries, keeps no secret
