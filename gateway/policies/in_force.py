"""The policy by which this gateway judges: its file's, or the version that two people put in force last.

Every few seconds it looks which one that is. Another one is built and checked beside the old one, its being in force is
made durable, and only then the next turns are judged by it. What cannot be built is never passed over: until it can, no
turn begins here (docs/decisions/0014).
"""

import asyncio
import contextlib
import hashlib
import time
from enum import StrEnum

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from audit.ports import AuditLog, AuditUnavailableError
from gateway.activation import record_activation
from gateway.judging import Judging
from gateway.lexicon import forbidden_words
from gateway.measured import MeasuredSafety
from gateway.policies.gateways import AtWork, Gateways
from gateway.policies.versions import Activation, PolicyVersions, Version
from gateway.problems import PolicyUnavailableError
from gateway.settings import Settings
from gateway.telemetry import Telemetry
from safety.compose import Layers
from safety.pipeline import Pipeline
from safety.policy import DEFAULT_POLICY, PolicyError, load_policy, parse_policy
from safety.policy_problem import Problem, Wrong
from safety.policy_shape import Policy

FILE = "attest"
"""Who adds the version of the policy file."""
STALE_S = 60.0
"""Without a look at what is in force for so long no turn begins."""
READ_S = 10.0
"""How long looking what is in force may take, and saying what is at work here."""
AGAIN_S = 30.0
"""How long a version that could not be used is left alone before it is tried again."""


class Trouble(StrEnum):
    """Why what is in force is not at work here."""

    ALTERED = "altered"
    """Its text is not the one that two people agreed to."""
    UNUSABLE = "unusable"
    """This release, classifier or machine cannot judge by it."""
    UNRECORDED = "unrecorded"
    """That it came into force could not be recorded."""
    STALE = "stale"
    """What is in force could not be read for a minute."""


class Standing(msgspec.Struct, frozen=True):
    """What judges here, and what stands against it."""

    policy: Policy
    """At work, with the thresholds in force."""
    policy_hash: str
    version: Version
    activation: Activation | None
    """None: the policy file counts."""
    file_hash: str
    """Hash of the policy in this gateway's file."""
    trouble: Trouble | None = None


class CannotJudgeError(Exception):
    """A gateway must not start: the policy in force cannot be used here. The message says what to do."""


class PolicyInForce:
    """Implements `gateway.judging.InForce`."""

    def __init__(
        self,
        settings: Settings,
        layers: Layers,
        versions: PolicyVersions,
        gateways: Gateways,
        audit: AuditLog,
        telemetry: Telemetry,
    ) -> None:
        """Build the layer of the policy file. Raises `ValueError` that says what to mend in it."""
        self._check_s = settings.policy_check_s
        self._layers = layers
        self._versions = versions
        self._gateways = gateways
        self._audit = audit
        self._telemetry = telemetry
        self._log = structlog.get_logger("attest.policy")
        file = settings.policy or DEFAULT_POLICY
        self._file = self._pipeline = layers.over(layers.completed(load_policy(file)))
        self._file_text = file.read_text("utf-8")
        self._judging = self._judged_by(self._file)
        self._version: Version | None = None
        self._activation: Activation | None = None
        self._trouble: Trouble | None = None
        self._failed: tuple[int, float] = (0, 0.0)
        self._looked = time.monotonic()
        self._others: list[Pipeline] = []

    @property
    def now(self) -> Judging:
        """The policy at work here; a turn keeps what it gets."""
        return self._judging

    def check(self) -> None:
        """Raise `PolicyUnavailableError` unless what is at work is known to be what is in force."""
        if self.trouble:
            raise PolicyUnavailableError(retry_after=5)

    @property
    def standing(self) -> Standing:
        """What judges here; after `start`."""
        if self._version is None:
            raise RuntimeError("not started")
        return Standing(
            policy=self._pipeline.policy,
            policy_hash=self._pipeline.policy_hash,
            version=self._version,
            activation=self._activation,
            file_hash=self._file.policy_hash,
            trouble=self.trouble,
        )

    @property
    def gateway_id(self) -> str:
        """Which of the gateways this is."""
        return self._gateways.gateway_id

    @property
    def layers(self) -> Layers:
        """What makes layers beside this one, for trials."""
        return self._layers

    def rule_title(self, rule: str, language: str) -> str:
        """Return what people are told that a rule is about: the same under every policy."""
        return self._file.rule_title(rule, language)

    async def ready(self) -> bool:
        """Whether turns are judged by what is in force."""
        return self.trouble is None

    async def safety_ready(self) -> bool:
        """Whether every guard speaks."""
        return await self._pipeline.ready()

    async def start(self) -> None:
        """Take in the policy file and put to work what is in force.

        Raises `CannotJudgeError`, `AuditUnavailableError`: then nothing may start.
        """
        self._version = await self._versions.keep(self._file.policy, self._file_text, FILE)
        activation = await self._versions.in_force()
        if activation is None:
            await record_activation(self._audit, self._file)
            await self._tell()
            return
        if self._version.version_id != activation.version_id:
            self._log.warning("policy file not in use", version=self._version.title)
        await self.look()
        if self._trouble is not None:
            raise CannotJudgeError(
                f"The policy in force (activation {activation.ordinal}) cannot be used here: {self._trouble}. Start the"
                " release that can, or have two people activate another version (attest safety policy activate)."
            )

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._check_s)
            try:
                await self.look()
            except AuditUnavailableError:
                continue  # `check` tells, once it lasts
            except Exception as error:  # noqa: BLE001 - told, and tried again; until then `check` refuses
                self._telemetry.fault("policy", error)

    async def look(self) -> None:
        """Put to work what is in force, or say that it cannot be. Raises `AuditUnavailableError`."""
        try:
            async with asyncio.timeout(READ_S):
                activation = await self._versions.in_force()
        except TimeoutError:
            raise AuditUnavailableError("What is in force could not be read in time.") from None
        if activation is not None and activation != self._activation:
            await self._change_to(activation)
        else:
            self._trouble = None
        self._looked = time.monotonic()
        await self._tell()

    async def _tell(self) -> None:
        """Say on the list of gateways what is at work here. That it cannot be said stops nobody: it is no record."""
        version = self._version.version_id if self._version else ""
        ordinal = self._activation.ordinal if self._activation else 0
        try:
            async with asyncio.timeout(READ_S):
                await self._gateways.tell(AtWork(version, self._pipeline.policy_hash, ordinal, self._trouble or ""))
        except (SQLAlchemyError, OSError) as error:
            self._telemetry.fault("policy", error)

    async def close(self) -> None:
        """Leave the list of gateways; close every layer, also those that turns have ended with."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._gateways.leave()
        for pipeline in self._others:
            await pipeline.close_opinion()
        await self._file.close()

    async def _change_to(self, activation: Activation) -> None:
        ordinal, since = self._failed
        if ordinal == activation.ordinal and time.monotonic() - since < AGAIN_S:
            return
        try:
            version = await self._versions.version(activation.version_id)
            if version is None or hashlib.sha256(version.text.encode()).hexdigest() != activation.text_hash:
                self._stand_against(activation, Trouble.ALTERED)
                return
            pipeline = await asyncio.to_thread(self._built, version.text)
        except (ValueError, OSError) as error:
            self._stand_against(activation, Trouble.UNUSABLE, error)
            return
        self._others.append(pipeline)
        if not await pipeline.ready():
            self._stand_against(activation, Trouble.UNUSABLE)
            return
        await self._put_to_work(pipeline, version, activation)

    def _built(self, text: str) -> Pipeline:
        return self._layers.over(self._layers.completed(parse_policy(text)))

    async def _put_to_work(self, pipeline: Pipeline, version: Version, activation: Activation) -> None:
        decided = {
            "version_id": version.version_id,
            "requested_by": activation.requested_by,
            "granted_by": activation.granted_by,
        }
        try:
            await record_activation(self._audit, pipeline, decided)
        except AuditUnavailableError as error:
            self._stand_against(activation, Trouble.UNRECORDED, error)
            return
        self._pipeline, self._judging = pipeline, self._judged_by(pipeline)
        self._version, self._activation, self._trouble = version, activation, None
        self._log.info("policy in force", version=version.title, count=activation.ordinal)

    def _judged_by(self, pipeline: Pipeline) -> Judging:
        return Judging(MeasuredSafety(pipeline, self._telemetry), forbidden_words(pipeline))

    def _stand_against(self, activation: Activation, trouble: Trouble, error: Exception | None = None) -> None:
        self._trouble = trouble
        if trouble is not Trouble.UNRECORDED:
            self._failed = (activation.ordinal, time.monotonic())
        self._log.error(
            "policy cannot be used",
            reason=trouble.value,
            count=activation.ordinal,
            error=type(error).__name__ if error else "",
        )

    @property
    def trouble(self) -> Trouble | None:
        """What stands against judging here."""
        stale = time.monotonic() - self._looked > max(STALE_S, 3 * self._check_s)
        return self._trouble or (Trouble.STALE if stale else None)


async def policy_in_force(settings: Settings, versions: PolicyVersions) -> Policy:
    """Return the policy that counts for this database, for commands, without the classifier's thresholds.

    Raises `PolicyError`, `AuditUnavailableError`.
    """
    activation = await versions.in_force()
    if activation is None:
        return load_policy(settings.policy or DEFAULT_POLICY)
    version = await versions.version(activation.version_id)
    if version is None or hashlib.sha256(version.text.encode()).hexdigest() != activation.text_hash:
        raise PolicyError(Problem(Wrong.ALTERED, "the text that two people put in force was altered"))
    return parse_policy(version.text)
