"""How the log stands: checkpoints, anchors, delivery; and its verification, on record, with progress."""

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit import verify as alone
from audit.keys import KeyFileError, MasterKey
from audit.outbox import DeadLetter, Outbox, OutboxState
from audit.ports import AuditLog
from audit.record import Entry, Kind
from audit.search.records import RecordQuery, RecordSearch
from audit.signing import SigningKeyError, SigningKeys
from audit.tables import ANCHOR, AUDIT_CHECKPOINT, AUDIT_ENTRY
from audit.verification.database import Trust, verify_database
from gateway.inquiry.desk import plainly
from gateway.inquiry.officer import AccessRecords, Detail, Officer, access_entry
from gateway.problems import AuditUnavailableProblemError, OverloadedError

SHOWN = 10
"""Checkpoints, anchors of a place, dead letters and findings that are shown."""


class CheckpointLine(msgspec.Struct, frozen=True):
    """A signed tree; `at_us` in microseconds since 1970 UTC."""

    size: int
    root_hash: bytes
    at_us: int


class AnchorLine(msgspec.Struct, frozen=True):
    """A checkpoint that stands outside."""

    place: str
    size: int
    at_us: int
    receipt: str


class Standing(msgspec.Struct, frozen=True):
    """Everything that the page shows."""

    origin: str
    keys: tuple[str, ...]
    waiting: int
    """Records without a place yet."""
    checkpoints: tuple[CheckpointLine, ...]
    anchors: tuple[AnchorLine, ...]
    outbox: OutboxState
    dead_letters: tuple[DeadLetter, ...]
    verified: tuple[Entry, ...]
    """The newest verifications, as their records say."""


class Progress(msgspec.Struct, frozen=True):
    """How far a verification is; `ok` and `findings` once it is done."""

    done: int
    total: int
    ok: bool | None = None
    findings: tuple[str, ...] = ()


class Integrity:
    """Tells and verifies. Raises the errors of `gateway.problems`."""

    def __init__(self, engine: AsyncEngine, master: MasterKey, log: AuditLog, keys: SigningKeys) -> None:
        self._engine = engine
        self._master = master
        self._keys = keys
        self._access = AccessRecords(log)
        self._records = RecordSearch(engine)
        self._busy = asyncio.Lock()

    async def standing(self) -> Standing:
        """Return how the log stands."""
        try:
            signers = await asyncio.to_thread(self._keys.load)
            with plainly():
                outbox = Outbox(self._engine)
                state, dead = await outbox.state(), await outbox.dead_letters(SHOWN)
                verified = await self._records.page(RecordQuery(kinds=(Kind.LOG_VERIFIED,)), None, SHOWN)
            checkpoints, anchors, waiting = await self._lines()
        except (SigningKeyError, SQLAlchemyError, OSError):
            raise AuditUnavailableProblemError("How the log stands cannot be read now.", retry_after=5) from None
        return Standing(
            signers.origin,
            tuple(map(str, signers.known)),
            waiting,
            checkpoints,
            anchors,
            state,
            dead,
            verified.records,
        )

    async def _lines(self) -> tuple[tuple[CheckpointLine, ...], tuple[AnchorLine, ...], int]:
        signed, anchor = AUDIT_CHECKPOINT.c, ANCHOR.c
        newest = select(signed.tree_size, signed.root_hash, signed.at_us).order_by(signed.tree_size.desc())
        outside = select(anchor.place, anchor.tree_size, anchor.at_us, anchor.receipt).order_by(anchor.at_us.desc())
        waiting = select(func.count()).select_from(AUDIT_ENTRY).where(AUDIT_ENTRY.c.leaf_index.is_(None))
        async with self._engine.connect() as connection:
            checkpoints = [CheckpointLine(*row) for row in await connection.execute(newest.limit(SHOWN))]
            anchors = [AnchorLine(*row) for row in await connection.execute(outside.limit(SHOWN))]
            return tuple(checkpoints), tuple(anchors), (await connection.execute(waiting)).scalar_one()

    async def verify(self, officer: Officer) -> AsyncGenerator[Progress, None]:
        """Verify the whole database and yield how far it is; the last one says what came of it, which is on record."""
        if self._busy.locked():
            raise OverloadedError("The log is being verified already; wait for it.", retry_after=30)
        async with self._busy:
            queue: asyncio.Queue[Progress | None] = asyncio.Queue()
            findings: list[str] = []
            began = time.monotonic()
            work = asyncio.create_task(self._work(queue, findings))
            work.add_done_callback(lambda _: queue.put_nowait(None))
            try:
                while (progress := await queue.get()) is not None:
                    yield progress
                try:
                    summary = await work
                except (SigningKeyError, SQLAlchemyError, OSError, KeyFileError):
                    raise AuditUnavailableProblemError("The log cannot be read now.", retry_after=5) from None
            finally:
                work.cancel()
            detail: Detail = {
                "ok": summary.ok,
                "findings": summary.findings,
                "tree_size": summary.tree_size,
                "checkpoints": summary.checkpoints,
                "texts": summary.texts,
                "seconds": round(time.monotonic() - began, 1),
            }
            await self._access.append(access_entry(officer, Kind.LOG_VERIFIED, detail))
            yield Progress(summary.records, summary.records, summary.ok, tuple(findings))

    async def _work(self, queue: "asyncio.Queue[Progress | None]", findings: list[str]) -> alone.Summary:
        signers = await asyncio.to_thread(self._keys.load)
        last = await asyncio.to_thread(self._keys.last_signed)
        trust = Trust(
            origin=signers.origin,
            keys=tuple(alone.parse_keys("\n".join(map(str, signers.known)).encode())),
            outside=_named(last),
            master_key=self._master,
        )

        def show(finding: alone.Finding) -> None:
            if len(findings) < SHOWN:
                findings.append(finding.line())

        def progress(done: int, total: int) -> None:
            queue.put_nowait(Progress(done, total))

        return await verify_database(self._engine, trust, show, progress)


def _named(note: str) -> tuple[tuple[str, bytes], ...]:
    return (("last.checkpoint of the signing folder", note.encode()),) if note else ()
