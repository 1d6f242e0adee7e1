"""A policy tried on the audit history: which turns would have ended otherwise. Nothing is asked of a model again."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime

import msgspec

from audit.ports import TurnSummary, TurnTrail
from audit.readers import Readers
from audit.record import Kind
from safety.ports import Direction, SafetyLayer, TurnContext
from safety.stream import StreamWindow
from safety.verdict import Action, Decision, severity_of

AT_ONCE = 50
"""Turns that are read and held in memory at once."""


class Changed(msgspec.Struct, frozen=True):
    """A turn whose verdict would be another; no text."""

    turn_id: str
    at: datetime
    subject: str
    recorded: str
    now: str
    rules: tuple[str, ...]
    """Rules behind the new verdict; where it is milder, none."""


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


async def replay(readers: Readers, safety: SafetyLayer, turns: Iterable[TurnSummary]) -> Replay:
    """Judge turns again under the policy of `safety`; refused turns, which no guard saw, are left out."""
    changed: list[Changed] = []
    judged = unreadable = 0
    async for trail in _trails(readers, [turn.turn_id for turn in turns if turn.verdict in set(Action)]):
        if not trail.message:
            unreadable += 1
            continue
        judged += 1
        action, rules = await _judge(safety, trail)
        if action.value != trail.verdict:
            changed.append(Changed(trail.turn_id, trail.at, trail.subject, trail.verdict, action.value, rules))
    stricter = sum(severity_of(Action(one.now)) > severity_of(Action(one.recorded)) for one in changed)
    return Replay(safety.policy_hash, judged, unreadable, stricter, len(changed) - stricter, tuple(changed))


async def _trails(readers: Readers, turn_ids: list[str]) -> AsyncIterator[TurnTrail]:
    for first in range(0, len(turn_ids), AT_ONCE):
        some = turn_ids[first : first + AT_ONCE]
        trails = await readers.trails(some)
        for turn_id in some:
            if turn_id in trails:
                yield trails[turn_id]


async def _judge(safety: SafetyLayer, trail: TurnTrail) -> tuple[Action, tuple[str, ...]]:
    """Return the strictest action over question and answer, and the rules that ask for it."""
    groups = next((record.groups for record in trail.records if record.kind is Kind.TURN_ACCEPTED), ())
    earlier = tuple(text.text for text in trail.dialogue[:-1] if text.role == "user")
    asked = TurnContext(direction=Direction.INPUT, groups=groups, window=earlier)
    decisions = [await safety.examine(trail.message, asked)]
    if not decisions[0].blocked and trail.generated:
        decisions += await _answer(safety, trail.generated, groups)
    action = max((decision.action for decision in decisions), key=severity_of)
    rules = (
        verdict.finding.rule
        for decision in decisions
        for verdict in decision.verdicts
        if verdict.action is action is not Action.ALLOW and not verdict.shadow
    )
    return action, tuple(dict.fromkeys(rules))


async def _answer(safety: SafetyLayer, generated: str, groups: tuple[str, ...]) -> list[Decision]:
    window = StreamWindow()
    decisions = []
    for stretch in [*window.push(generated), *window.flush()]:
        context = TurnContext(direction=Direction.OUTPUT, groups=groups, overlap=len(stretch.overlap))
        decisions.append(await safety.examine(stretch.overlap + stretch.text, context))
        if decisions[-1].blocked:
            break
    return decisions
