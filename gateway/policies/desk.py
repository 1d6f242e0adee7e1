"""What officers ask of the policy: how it stands, its versions, a trial, a second person's consent."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec

from audit.approval import Action, Approval
from audit.governing import now_us
from audit.ports import TurnSummary
from audit.search.ports import Count
from audit.search.query import TurnQuery
from gateway.governance import Governance
from gateway.inquiry.consent import governed
from gateway.inquiry.desk import Desk
from gateway.inquiry.officer import Detail, Officer
from gateway.policies.gateways import GatewayStanding, gateways, standings
from gateway.policies.in_force import PolicyInForce, Standing
from gateway.policies.readable import on_trial
from gateway.policies.telling import Telling, telling, told
from gateway.policies.trials import Example, State, Trial, Trials
from gateway.policies.versions import Activation, Version
from gateway.problems import ConflictError, ForbiddenError, NotFoundError
from safety.policy import parse_policy
from safety.policy_shape import Policy

SHADOW_DAYS = 30
MOST_SHADOWS = 20
"""Rules and categories on trial that are counted."""
WITH_TEXTS = 10
"""Examples whose texts are opened at once; each is a reading on record."""
EXCERPT = 400
"""Characters of an example's message."""
_NOT_TOLD = (
    "This candidate has other words of the company and changes more than them, or not for everybody alike: somebody"
    " with the role compliance can try it, or propose the words alone."
)


class Overview(msgspec.Struct, frozen=True):
    """Everything about versions."""

    standing: Standing
    versions: tuple[Version, ...]
    activations: tuple[Activation, ...]
    waiting: dict[str, Approval]
    """Requests that wait, by version."""
    gateways: tuple[GatewayStanding, ...]
    """Every gateway that was heard of in the last day."""
    here: str
    """Which of them answers."""


class Shadow(msgspec.Struct, frozen=True):
    """What a rule or category that is only recorded found."""

    kind: str
    """`rule` or `category`."""
    name: str
    turns: int
    verdicts: tuple[Count, ...]
    """How those turns ended."""


class ShownExample(msgspec.Struct, frozen=True):
    """A changed turn, its line, and the start of its message where that was opened."""

    example: Example
    turn: TurnSummary | None
    text: str | None = None


class Tried(msgspec.Struct, frozen=True):
    """The newest trial of a version as an officer is told of it."""

    trial: Trial
    """Its result is as much as may be told; None where nothing may, or it has none."""
    state: State
    telling: Telling
    examples: tuple[ShownExample, ...] = ()


class PolicyDesk:
    """Answers officers. Raises the errors of `gateway.problems`."""

    def __init__(self, in_force: PolicyInForce, governance: Governance, trials: Trials, desk: Desk) -> None:
        self._in_force = in_force
        self._governor = governance.governor
        self._versions = governance.versions
        self._approvals = governance.approvals
        self._trials = trials
        self._desk = desk

    @property
    def standing(self) -> Standing:
        """How the policy stands in this gateway."""
        return self._in_force.standing

    async def overview(self) -> Overview:
        """Return how the policy stands, its versions, and which gateways judge by which."""
        with governed():
            versions, activations, waiting, told = await asyncio.gather(
                self._versions.listed(),
                self._versions.activations(),
                self._approvals.listed(),
                gateways(self._governor),
            )
        stand = standings(told, activations[0].ordinal if activations else 0, now_us())
        asked = {one.arguments.get("version_id", ""): one for one in waiting if one.action == Action.POLICY}
        return Overview(self.standing, versions, activations, asked, stand, self._in_force.gateway_id)

    async def version(self, version_id: str) -> Version:
        """Return a version with its text."""
        with governed():
            version = await self._versions.version(version_id[:36])
        if version is None:
            raise NotFoundError("There is no such version.")
        return version

    async def policy(self, version: Version) -> Policy:
        """Return a version as it would be in force here. Raises `ConflictError` where it cannot be."""
        try:
            policy = await asyncio.to_thread(parse_policy, version.text)
            return self._in_force.layers.completed(policy)
        except ValueError:
            raise ConflictError("This release cannot read this version.") from None

    async def propose(self, officer: Officer, text: str, note: str) -> Version:
        """Add a candidate. Raises also `safety.policy.PolicyError` that names everything to mend."""
        with governed():
            return await self._versions.propose(text, note, _subject(officer))

    async def ask(self, officer: Officer, version_id: str) -> Approval:
        """Ask that a second person puts a version in force."""
        with governed():
            return await self._versions.ask(
                (await self.version(version_id)).version_id, self._approvals, _subject(officer)
            )

    async def begin_trial(self, officer: Officer, version_id: str, *, days: int, most: int) -> Trial:
        """Try a version on the history, in the background."""
        version = await self.version(version_id)
        if self.telling(officer, await self.policy(version)) is Telling.NOTHING:
            raise ForbiddenError(_NOT_TOLD)
        return await self._trials.begin(officer, _subject(officer), version, days=days, most=most)

    def telling(self, officer: Officer, candidate: Policy) -> Telling:
        """Return how much of a candidate's trial an officer is told, by what is in force now."""
        return Telling.ALL if officer.may_read_texts else telling(candidate, self.standing.policy)

    async def progress(self, version_id: str) -> tuple[State, int, int]:
        """Return how the newest trial of a version stands, the turns that are done, and how many there are."""
        trial = await self._trials.newest(version_id[:36])
        if trial is None:
            raise NotFoundError("This version was not tried.")
        return trial.standing(now_us()), trial.done, trial.total

    async def tried(self, officer: Officer, version: Version, candidate: Policy, *, texts: bool) -> Tried | None:
        """Return the newest trial of a version, read as `candidate`, as the officer may be told of it.

        `texts` opens those of the first examples, each on record, for whoever may read.
        """
        trial = await self._trials.newest(version.version_id)
        if trial is None:
            return None
        state, how = trial.standing(now_us()), self.telling(officer, candidate)
        if trial.result is None:
            return Tried(trial, state, how)
        result, how = told(trial.result, how)
        examples = await self._examples(officer, trial, texts=texts) if how is Telling.ALL else ()
        return Tried(msgspec.structs.replace(trial, result=result), state, how, examples)

    async def shadows(self, officer: Officer) -> tuple[Shadow, ...]:
        """Count, over the last days, what found whatever the policy in force only records."""
        since = datetime.now(UTC) - timedelta(days=SHADOW_DAYS)
        names = on_trial(self.standing.policy)[:MOST_SHADOWS]
        queries = [
            TurnQuery(since=since, rule=name) if kind == "rule" else TurnQuery(since=since, category=name)
            for kind, name in names
        ]
        counts = [await self._desk.counts(officer, query, 86_400) for query in queries]
        return tuple(
            Shadow(kind, name, one.turns, one.verdicts) for (kind, name), one in zip(names, counts, strict=True)
        )

    async def _examples(self, officer: Officer, trial: Trial, *, texts: bool) -> tuple[ShownExample, ...]:
        examples = trial.result.examples if trial.result is not None else ()
        about: Detail = {"what": "policy_trial", "trial_id": trial.trial_id}
        lines = await self._desk.listed(officer, [one.turn_id for one in examples], about) if examples else ()
        by_id = {one.turn_id: one for one in lines}
        opened: dict[str, str] = {}
        for one in examples[: WITH_TEXTS if texts else 0]:
            turn = await self._desk.turn(officer, one.turn_id, content=True)
            opened[one.turn_id] = turn.content.message[:EXCERPT] if turn is not None and turn.content else ""
        return tuple(ShownExample(one, by_id.get(one.turn_id), opened.get(one.turn_id)) for one in examples)


def _subject(officer: Officer) -> str:
    if officer.principal is None:
        raise ForbiddenError
    return officer.principal.subject
