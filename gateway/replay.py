"""A policy tried on the audit history: which turns would have ended otherwise. Nothing is asked of a model again."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime

import msgspec

from audit.ports import TurnSummary, TurnTrail
from audit.readers import Readers
from audit.record import Entry, Kind
from gateway.rejudging import context_known
from safety.ports import Direction, SafetyLayer, TurnContext
from safety.stream import StreamWindow
from safety.verdict import Action, Decision, StageStatus, Verdict, severity_of

AT_ONCE = 50
"""Turns that are read and held in memory at once."""
_FAILED = (StageStatus.ERROR, StageStatus.TIMED_OUT)


class Changed(msgspec.Struct, frozen=True):
    """A turn whose verdict would be another; no text."""

    turn_id: str
    at: datetime
    subject: str
    recorded: str
    now: str
    rules: tuple[str, ...]
    """Rules behind the new verdict; where it is milder, none."""
    categories: tuple[str, ...] = ()
    """What the change is about: of the findings behind a stricter verdict, of all recorded ones behind a milder."""
    groups: tuple[str, ...] = ()
    """The person's groups, as the turn has them on record."""

    @property
    def stricter(self) -> bool:
        """Whether the new verdict asks for more."""
        return severity_of(Action(self.now)) > severity_of(Action(self.recorded))


class Replay(msgspec.Struct, frozen=True):
    """What came of a replay."""

    policy: str
    """Hash of the policy that was tried."""
    turns: int
    """Turns that were judged again."""
    unreadable: int
    """Turns whose texts were erased or pruned."""
    stricter: int
    milder: int
    changed: tuple[Changed, ...]
    unjudged: int = 0
    """Turns that cannot be judged again: what made their verdict so strict is not on record to be looked at."""


AfterEach = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """Go on at once."""


async def replay(
    readers: Readers, safety: SafetyLayer, turns: Iterable[TurnSummary], after_each: AfterEach = _nothing
) -> Replay:
    """Judge turns again under the policy of `safety`; refused turns, which no guard saw, are left out.

    `after_each` is called after each turn: to tell how far it is, and to rest.
    """
    changed: list[Changed] = []
    judged = unreadable = unjudged = 0
    async for trail in _trails(readers, [turn.turn_id for turn in judged_once(turns)]):
        if trail.message:
            change = await _changed(safety, trail)
            unknown = change is not None and not change.stricter and _cannot_be_milder(trail)
            judged, unjudged = judged + (not unknown), unjudged + unknown
            changed += [change] if change is not None and not unknown else []
        else:
            unreadable += 1
        await after_each()
    stricter = sum(one.stricter for one in changed)
    return Replay(safety.policy_hash, judged, unreadable, stricter, len(changed) - stricter, tuple(changed), unjudged)


def judged_once(turns: Iterable[TurnSummary]) -> tuple[TurnSummary, ...]:
    """Return the turns that guards saw."""
    return tuple(turn for turn in turns if turn.verdict in set(Action))


def _cannot_be_milder(trail: TurnTrail) -> bool:
    """Whether a milder verdict would say nothing about the policy: something else than the texts on record decided.

    A guard failed; the tier stopped the model at a word; or what came before the message is not on record as it was
    typed (earlier messages and the system's, where the turn was stopped on its way in).
    """
    if any(stage.status in _FAILED for record in trail.records for stage in record.stages):
        return True
    if any(record.detail.get("stopped_by") for record in trail.records):
        return True
    opened = _opened(trail)
    return opened is not None and opened.verdict == trail.verdict and not context_known(trail, opened)


def _opened(trail: TurnTrail) -> Entry | None:
    return next((record for record in trail.records if record.kind is Kind.TURN_ACCEPTED), None)


async def _changed(safety: SafetyLayer, trail: TurnTrail) -> Changed | None:
    opened = _opened(trail)
    groups = opened.groups if opened is not None else ()
    action, said = await _judge(safety, trail, groups)
    if action.value == trail.verdict:
        return None
    milder = severity_of(action) < severity_of(Action(trail.verdict))
    categories = trail.categories if milder else (one.finding.category.value for one in said)
    return Changed(
        turn_id=trail.turn_id,
        at=trail.at,
        subject=trail.subject,
        recorded=trail.verdict,
        now=action.value,
        rules=tuple(dict.fromkeys(one.finding.rule for one in said)),
        categories=tuple(dict.fromkeys(categories)),
        groups=groups,
    )


async def _trails(readers: Readers, turn_ids: list[str]) -> AsyncIterator[TurnTrail]:
    for first in range(0, len(turn_ids), AT_ONCE):
        some = turn_ids[first : first + AT_ONCE]
        trails = await readers.trails(some)
        for turn_id in some:
            if turn_id in trails:
                yield trails[turn_id]


async def _judge(safety: SafetyLayer, trail: TurnTrail, groups: tuple[str, ...]) -> tuple[Action, tuple[Verdict, ...]]:
    """Return the strictest action over question and answer, and the verdicts that ask for it."""
    earlier = tuple(text.text for text in trail.dialogue[:-1] if text.role == "user")
    asked = TurnContext(direction=Direction.INPUT, groups=groups, window=earlier)
    decisions = [await safety.examine(trail.message, asked)]
    if not decisions[0].blocked and trail.generated:
        decisions += await _answer(safety, trail.generated, groups)
    action = max((decision.action for decision in decisions), key=severity_of)
    said = (
        verdict
        for decision in decisions
        for verdict in decision.verdicts
        if verdict.action is action is not Action.ALLOW and not verdict.shadow
    )
    return action, tuple(said)


async def _answer(safety: SafetyLayer, generated: str, groups: tuple[str, ...]) -> list[Decision]:
    window = StreamWindow()
    decisions = []
    for stretch in [*window.push(generated), *window.flush()]:
        decisions.append(await safety.examine(stretch.whole, stretch.context(groups)))
        if decisions[-1].blocked:
            break
    return decisions
