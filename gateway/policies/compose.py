"""Everything about the policy, put together as the settings choose it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import MasterKey
from audit.ports import AuditLog
from audit.readers import Readers
from gateway.governance import Governance
from gateway.inquiry.desk import Desk
from gateway.policies.desk import PolicyDesk
from gateway.policies.gateways import Gateways
from gateway.policies.in_force import PolicyInForce
from gateway.policies.trials import Trials
from gateway.settings import Settings
from gateway.telemetry import Telemetry
from safety.classifier.guard import HarmClassifier
from safety.compose import Layers
from safety.policy_shape import SecondOpinionRule
from safety.second_opinion import Judge


class Policies(msgspec.Struct, frozen=True):
    """What `create_app` plugs in."""

    in_force: PolicyInForce
    trials: Trials
    desk: PolicyDesk

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Judge by what is in force, and go on looking which that is; closes everything.

        Raises `gateway.policies.in_force.CannotJudgeError`, `AuditUnavailableError`: then nothing may start.
        """
        looking: asyncio.Task[None] | None = None
        try:
            await self.in_force.start()
            looking = asyncio.create_task(self.in_force.run())
            yield
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.wait([looking])
            await self.trials.close()
            await self.in_force.close()


def make_policies(
    settings: Settings,
    engine: AsyncEngine,
    master: MasterKey,
    audit: AuditLog,
    governance: Governance,
    telemetry: Telemetry,
    desk: Desk,
    judge_for: Callable[[SecondOpinionRule], Judge],
) -> Policies:
    """Open the classifier and build the policy file's layer. Raises `ValueError` that says what to mend."""
    layers = Layers(HarmClassifier(threads=settings.cores_for_classifier), settings.guard_timeout_s, judge_for)
    gateways = Gateways(governance.governor, settings.port)
    in_force = PolicyInForce(settings, layers, governance.versions, gateways, audit, telemetry)
    telemetry.watch_policy(lambda: in_force.trouble is not None)
    trials = Trials(governance.governor, Readers(engine, master), audit, layers, telemetry)
    return Policies(
        in_force=in_force,
        trials=trials,
        desk=PolicyDesk(in_force, governance, trials, desk),
    )
