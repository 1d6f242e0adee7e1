"""The safety layer as the gateway sees it: normalise, let every guard examine, decide. Nothing passes by default."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from safety.filters.engine import RuleGuard
from safety.normalise import TOO_MUCH, VERSION, NormalisedText, normalise, warm_up
from safety.policy import Policy, decide, policy_hash
from safety.policy_shape import CLASSIFIER
from safety.ports import Direction, Guard, SwiftGuard, TurnContext
from safety.second_opinion import SecondOpinion, uncertain_verdicts
from safety.titles import Titles
from safety.verdict import Category, Decision, Examination, Finding, StageStatus

INLINE_CHARACTERS = 2_000
"""Texts up to this length are normalised and filtered on the event loop: a thread would cost more than the work."""
NORMALISER = "normaliser"
TOO_MUCH_RULE = f"{Category.PROMPT_ATTACK}.{TOO_MUCH}"


class Pipeline:
    """Implements `SafetyLayer` over guards that do not know each other.

    The slow guards start at once, then the swift ones speak in place; each has its own time. A guard that raises,
    hangs, refuses to be cancelled or answers for less than the whole text has not spoken for the text, and the policy
    says what that means.
    """

    def __init__(
        self,
        guards: Sequence[Guard],
        policy: Policy,
        *,
        guard_timeout_s: float = 5.0,
        timeouts_s: Mapping[str, float] | None = None,
        second_opinion: SecondOpinion | None = None,
    ) -> None:
        self._guards = tuple(guards)
        self._swift = tuple(guard for guard in guards if isinstance(guard, SwiftGuard))
        self._policy = policy
        self._second_opinion = second_opinion
        self._timeouts = {guard.name: guard_timeout_s for guard in guards} | dict(timeouts_s or {})
        self._normaliser_timeout = guard_timeout_s
        self._titles = Titles(rule for guard in guards if isinstance(guard, RuleGuard) for rule in guard.rules)
        self.policy_hash = policy_hash(policy)
        self.classifier_hash = next((guard.version for guard in guards if guard.name == CLASSIFIER), "")

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @property
    def guards(self) -> tuple[Guard, ...]:
        """Every guard, in the order of their stages."""
        return self._guards

    def validate(self) -> None:
        """Check every guard and build what the first turn would otherwise pay for; raise `ValueError`."""
        warm_up()
        names = [guard.name for guard in self._guards]
        if len(names) != len(set(names)):
            raise ValueError(f"two guards have the same name: {', '.join(names)}")
        for guard in self._guards:
            guard.validate()

    def rule_title(self, rule: str, language: str) -> str:
        """Return what people are told that a rule is about (`zh…` or English); empty when it is not known."""
        return self._titles.title(rule, language)

    async def ready(self) -> bool:
        """Whether every guard speaks: a turn would not fail for their sake."""
        decision = await self.examine("ready?", TurnContext(direction=Direction.OUTPUT))
        return all(part.status in (StageStatus.RAN, StageStatus.SKIPPED) for part in decision.examinations)

    async def close(self) -> None:
        """Close the guards that hold threads or models, and the second opinion."""
        for guard in self._guards:
            if (close := getattr(guard, "close", None)) is not None:
                await close()
        await self.close_opinion()

    async def close_opinion(self) -> None:
        """Close what this layer alone has: another one goes on with the guards."""
        if self._second_opinion is not None:
            await self._second_opinion.close()

    async def examine(self, text: str, context: TurnContext) -> Decision:
        """Normalise, examine by every guard, decide. Never raises for a failing guard: the decision then blocks."""
        began = time.perf_counter()
        try:
            read = await self._normalise(text)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the text was not examined
            return self._decide((_failed(NORMALISER, VERSION, began, error),), context)
        examinations = (_account_of(read, began), *await self._examine(read, context))
        decision = self._decide(examinations, context)
        if self._second_opinion is None or not (unsure := uncertain_verdicts(decision)):
            return decision
        opinion = await self._second_opinion.examine(text, unsure)
        return self._decide((*examinations, opinion), context)

    async def _normalise(self, text: str) -> NormalisedText:
        if len(text) <= INLINE_CHARACTERS:
            return normalise(text)
        async with asyncio.timeout(self._normaliser_timeout):
            return await asyncio.to_thread(normalise, text)

    async def _examine(self, read: NormalisedText, context: TurnContext) -> list[Examination]:
        began = time.perf_counter()
        tasks = {
            guard.name: asyncio.ensure_future(guard.examine(read, context))
            for guard in self._guards
            if guard not in self._swift
        }
        try:
            await asyncio.sleep(0)  # the slow ones are on their way
            at_once = {guard.name: self._examined_now(guard, read, context) for guard in self._swift}
            tasks |= {
                guard.name: asyncio.ensure_future(guard.examine(read, context))
                for guard in self._swift
                if at_once[guard.name] is None
            }
            return [
                at_once.get(guard.name) or await self._outcome(guard, tasks[guard.name], read, began)
                for guard in self._guards
            ]
        finally:
            for task in tasks.values():
                if not task.done():
                    task.add_done_callback(_forget)
                    task.cancel()

    def _examined_now(self, guard: SwiftGuard, read: NormalisedText, context: TurnContext) -> Examination | None:
        began = time.perf_counter()
        try:
            examination = guard.examine_now(read, context)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the text was not examined
            return _failed(guard.name, guard.version, began, error)
        return None if examination is None else _checked(guard, examination, read, began)

    async def _outcome(
        self, guard: Guard, task: asyncio.Future[Examination], read: NormalisedText, began: float
    ) -> Examination:
        left = self._timeouts[guard.name] - (time.perf_counter() - began)
        if not task.done():
            await asyncio.wait({task}, timeout=max(left, 0.0))
        if not task.done():
            return _failed(guard.name, guard.version, began, None)
        if task.cancelled():
            return _failed(guard.name, guard.version, began, asyncio.CancelledError())
        if (error := task.exception()) is not None:
            return _failed(guard.name, guard.version, began, error)
        return _checked(guard, task.result(), read, began)

    def _decide(self, examinations: tuple[Examination, ...], context: TurnContext) -> Decision:
        return decide(examinations, self._policy, context, policy_hash=self.policy_hash, normaliser_version=VERSION)


def _forget(task: asyncio.Future[Examination]) -> None:
    """Take the outcome of a guard nobody waits for any more, so that it is not reported as never retrieved."""
    if not task.cancelled():
        task.exception()


def _checked(guard: Guard, examination: object, read: NormalisedText, began: float) -> Examination:
    """Believe an examination only when it is one, of this guard, of the whole text."""
    if not isinstance(examination, Examination) or examination.guard != guard.name:
        return _failed(guard.name, guard.version, began, TypeError())
    if examination.status is StageStatus.RAN and examination.characters < len(read.original):
        return _failed(guard.name, guard.version, began, IncompleteExaminationError())
    return examination


class IncompleteExaminationError(Exception):
    """A guard said that it ran, but not over the whole text."""


def _account_of(read: NormalisedText, began: float) -> Examination:
    findings: tuple[Finding, ...] = ()
    if TOO_MUCH in read.changes:
        span = (read.segments[0].start, max(segment.end for segment in read.segments))
        findings = (Finding(NORMALISER, TOO_MUCH_RULE, Category.PROMPT_ATTACK, *span, 1.0),)
    return Examination(
        guard=NORMALISER,
        version=VERSION,
        status=StageStatus.RAN,
        characters=len(read.original),
        findings=findings,
        milliseconds=_since(began),
    )


def _failed(guard: str, version: str, began: float, error: BaseException | None) -> Examination:
    return Examination(
        guard=guard,
        version=version,
        status=StageStatus.TIMED_OUT if error is None or isinstance(error, TimeoutError) else StageStatus.ERROR,
        characters=0,
        milliseconds=_since(began),
        error="TimeoutError" if error is None else type(error).__name__,
    )


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
