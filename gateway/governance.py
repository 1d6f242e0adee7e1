"""The parts that keep the log (holds, erasure, retention, four eyes, anchors), as the settings choose them."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.anchors.anchoring import Anchoring
from audit.anchors.file import FolderPlace
from audit.anchors.ports import AnchorError, Place
from audit.anchors.webhook import WebhookPlace
from audit.approval import Action, Approval, Approvals, Decision
from audit.elastic.client import ElasticSettingsError
from audit.elastic.eraser import ElasticsearchEraser
from audit.elastic.months import Months, OldMonths
from audit.erasure import Erasure, Erasures
from audit.governing import Governor
from audit.hold import Hold, Holds
from audit.ledger import ErasureLedger
from audit.retention import Keeping, Pruned, Retention
from gateway.delivery import Job, elasticsearch_client
from gateway.history.erasure import HistoryOfPerson
from gateway.policies.versions import PolicyVersions
from gateway.review.keeping import ReviewsOfPerson, ReviewsOfTurns
from gateway.settings import Settings, SettingsError

PENDING_S = 60.0
"""How often erasures that wait are looked at, in seconds."""
FIRST_PRUNING_S = 600.0
"""Longest wait before the first pruning after a start, in seconds: several gateways do not begin at one moment."""


class Governance(msgspec.Struct, frozen=True):
    """Everything that keeps the log; `close` it in the end."""

    governor: Governor
    holds: Holds
    erasures: Erasures
    retention: Retention
    approvals: Approvals
    versions: PolicyVersions
    anchoring: Anchoring
    eraser: ElasticsearchEraser | None
    months: OldMonths | None
    """Drops old months from the search store, where somebody was given the right to."""
    four_eyes: frozenset[str]
    prune_every_s: float
    """How often the gateway prunes by itself, in seconds; 0: never."""
    on_fault: Callable[[Exception], None]
    """Hears of what fails in the background and is tried again."""

    async def erase(self, subject: str, case_number: str, by: str) -> Erasure | Approval:
        """Erase a person, or ask for a second officer where that is demanded.

        Raises `audit.erasure.HeldError` (recorded; it waits), `audit.governing.GoverningError`,
        `audit.ledger.LedgerError`, `audit.ports.AuditUnavailableError`.
        """
        await self.erasures.check(subject, case_number)
        if Action.ERASE in self.four_eyes:
            what = {"subject": subject, "case_number": case_number}
            return await self.approvals.request(Action.ERASE, what, by)
        asked = await self.erasures.request(subject, case_number, by)
        return await self.erasures.attempt(asked, by)

    async def release(self, hold_id: str, by: str) -> tuple[Hold | Approval, tuple[Erasure, ...]]:
        """Release a hold and carry out what waited for it, or ask for a second officer where that is demanded.

        Raises as `erase`.
        """
        if Action.HOLD_RELEASE in self.four_eyes:
            return await self.approvals.request(Action.HOLD_RELEASE, {"hold_id": hold_id}, by), ()
        hold = await self.holds.release(hold_id, by)
        return hold, await self.erasures.carry_out_pending()

    async def prune(self, *, dry: bool = False) -> tuple[Pruned, Months]:
        """Prune the log, then the search store; with `dry` only say what would be. Raises as `Retention.run`."""
        pruned = await self.retention.run(dry=dry)
        return pruned, await self.months.run(dry=dry) if self.months is not None else Months()

    async def grant(self, approval_id: str, by: str) -> tuple[Approval, tuple[Erasure, ...]]:
        """Grant what somebody else asked for, and do it: decision and deed are one transaction.

        Raises as `erase`.
        """
        asked = None
        wanted = await self.approvals.asked(approval_id)
        if wanted is not None and wanted.action == Action.POLICY:
            await self.versions.check_granting(wanted)
        async with self.governor.transaction() as connection:
            approval = await self.approvals.decide(approval_id, Decision.APPROVED, by, connection)
            what = approval.arguments
            if approval.action == Action.ERASE:
                person, case = what["subject"], what["case_number"]
                asked = await self.erasures.request(person, case, approval.requested_by, connection)
            elif approval.action == Action.HOLD_RELEASE:
                await self.holds.release(what["hold_id"], approval.requested_by, connection)
            elif approval.action == Action.POLICY:
                await self.versions.activate(approval, connection)
        if asked is not None:
            return approval, (await self.erasures.attempt(asked, by),)
        if approval.action == Action.HOLD_RELEASE:
            return approval, await self.erasures.carry_out_pending()
        return approval, ()

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Apply the erasure ledger, then anchor, prune and carry out what waits until the end; closes everything.

        Raises `audit.ledger.LedgerError`, `AuditUnavailableError`: then nothing may start.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.close)
            await self.erasures.reapply()
            loops = [self._carry_out()]
            loops += [self.anchoring.run()] if self.anchoring.places else []
            loops += [self._prune()] if self.prune_every_s else []
            for loop in loops:
                stack.push_async_callback(_ended, asyncio.create_task(loop))
            yield

    async def _carry_out(self) -> None:
        while True:
            try:
                await self.erasures.carry_out_pending()
            except Exception as error:  # noqa: BLE001 - the next round tries again
                self.on_fault(error)
            await asyncio.sleep(PENDING_S)

    async def _prune(self) -> None:
        wait_s = random.uniform(0.0, min(FIRST_PRUNING_S, self.prune_every_s))  # noqa: S311 - spreads work, keeps no secret
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.prune()
            except Exception as error:  # noqa: BLE001 - told, and tried again: altered records stay until somebody looks
                self.on_fault(error)
            wait_s = self.prune_every_s

    async def close(self) -> None:
        """Close the connections to places outside and to the search store."""
        await self.anchoring.close()
        for one in (self.eraser, self.months):
            if one is not None:
                await one.close()


def make_governance(
    settings: Settings, engine: AsyncEngine, on_fault: Callable[[Exception], None] = lambda _: None
) -> Governance:
    """Put the parts together; nothing is opened yet. Raises `SettingsError`."""
    governor = Governor(engine)
    try:
        eraser = ElasticsearchEraser(elasticsearch_client(settings, Job.ERASER)) if settings.elasticsearch_url else None
        months = old_months(settings, governor)
        places = places_of(settings)
    except (ElasticSettingsError, AnchorError) as error:
        raise SettingsError(str(error)) from None
    keeping = Keeping(
        retention=timedelta(days=settings.audit_retention_days),
        delivery=bool(settings.elasticsearch_url),
        places=tuple(place.name for place in places),
    )
    own_data = (HistoryOfPerson(), ReviewsOfPerson())
    return Governance(
        governor=governor,
        holds=Holds(governor),
        erasures=Erasures(governor, ErasureLedger(settings.erasure_ledger_path), own_data, eraser),
        retention=Retention(governor, keeping, (ReviewsOfTurns(),)),
        approvals=Approvals(governor, timedelta(hours=settings.audit_approval_hours)),
        versions=PolicyVersions(governor),
        anchoring=Anchoring(governor, places, settings.anchor_interval_minutes * 60, on_fault),
        eraser=eraser,
        months=months,
        four_eyes=settings.four_eyes,
        prune_every_s=settings.audit_retention_every_hours * 3600.0,
        on_fault=on_fault,
    )


def old_months(settings: Settings, governor: Governor) -> OldMonths | None:
    """Return what drops old months, where an identity for it is set. Raises `ElasticSettingsError`."""
    if not (settings.elasticsearch_url and settings.elasticsearch_retention.get_secret_value()):
        return None
    client = elasticsearch_client(settings, Job.RETENTION)
    return OldMonths(client, governor, timedelta(days=settings.elasticsearch_keep_days))


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def places_of(settings: Settings) -> tuple[Place, ...]:
    """Return the places outside that are configured. Raises `AnchorError` for a CA file that cannot be read."""
    places: list[Place] = []
    if settings.anchor_folder is not None:
        places.append(FolderPlace(settings.anchor_folder))
    if settings.anchor_s3_bucket:
        places.append(_s3_place(settings))
    if settings.anchor_webhook_url is not None:
        places.append(WebhookPlace(str(settings.anchor_webhook_url), settings.anchor_ca_file))
    return tuple(places)


def _s3_place(settings: Settings) -> Place:
    # boto3 is half a second of the start and 13 MB of memory: only who keeps checkpoints there pays for it.
    from audit.anchors.s3 import S3Place, S3Settings  # noqa: PLC0415

    access, _, secret = settings.anchor_s3_key.get_secret_value().partition(":")
    return S3Place(
        S3Settings(
            bucket=settings.anchor_s3_bucket,
            url=str(settings.anchor_s3_url or "").rstrip("/"),
            region=settings.anchor_s3_region,
            access_key=access,
            secret_key=secret,
            ca_file=settings.anchor_ca_file,
            lock_days=settings.anchor_s3_lock_days,
        )
    )
