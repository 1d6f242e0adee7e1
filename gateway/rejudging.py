"""One turn judged again as it was judged then: the recorded policy and classifier over the recorded texts.

Same means: every guard that spoke says the same of the same spans, and the verdict is the same. What cannot be judged
again is said to be so, never guessed: another classifier, rules or normaliser is loaded, or the texts were erased.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from audit.ports import TurnTrail
from audit.record import Entry, FindingRecord, Kind, StageRecord
from gateway.answer import Answer
from gateway.lexicon import GUARD as DECODING
from gateway.turn_records import findings_of, strictest
from inference.ports import Delta, FinishReason
from safety.classifier.guard import HarmClassifier
from safety.normalise import VERSION
from safety.parts import filters
from safety.pipeline import Pipeline
from safety.policy_shape import CLASSIFIER, Policy
from safety.ports import Direction, TurnContext
from safety.verdict import Decision

_SCORE = 0.002
"""Scores that differ by less are the same: batches and processors round differently."""
_CUTS = ("redact", "pseudonymise")
_UNFINISHED = frozenset({Kind.TURN_ABORTED, Kind.TURN_INTERRUPTED})


class Outcome(StrEnum):
    """What came of judging a stage or a turn again."""

    SAME = "same"
    DIFFERENT = "different"
    CANNOT = "cannot"


class Why(StrEnum):
    """Why something cannot be judged as it was, or what of it is different now."""

    REFUSED = "refused"
    POLICY = "policy"
    NORMALISER = "normaliser"
    CLASSIFIER = "classifier"
    ERASED = "erased"
    GUARD_GONE = "guard_gone"
    RULES = "rules"
    EARLIER = "earlier"
    STATUS = "status"
    VERDICT = "verdict"
    FINDINGS = "findings"


TOLD: dict[Why, str] = {
    Why.REFUSED: "no guard saw it: the turn was refused before",
    Why.POLICY: "other policy: no record holds the one that was in force",
    Why.NORMALISER: "other normaliser: its version is not the one that is installed",
    Why.CLASSIFIER: "other classifier: its hash is not that of the one that is installed",
    Why.ERASED: "texts are gone: the person was erased",
    Why.GUARD_GONE: "there is no such guard any more",
    Why.RULES: "other rules: their hash is not that of the installed ones",
    Why.EARLIER: "earlier messages count here, and were not kept as they were typed",
    Why.STATUS: "another status",
    Why.VERDICT: "another verdict",
    Why.FINDINGS: "its findings are others",
}
"""What the command line says; pages have it in their catalogues."""


class StageAgain(msgspec.Struct, frozen=True):
    """One stage; no text."""

    stage: str
    outcome: Outcome
    why: Why | None = None
    then: str = ""
    """The recorded status or verdict, where another one is why."""
    now: str = ""


class Rejudged(msgspec.Struct, frozen=True):
    """What came of a turn."""

    turn_id: str
    outcome: Outcome
    why: Why | None = None
    policy_hash: str = ""
    classifier_hash: str = ""
    stages: tuple[StageAgain, ...] = ()


def recorded_policy(text: str, digest: str) -> Policy | None:
    """Return the policy of a `policy.activated` record, if it is the one with this hash (`safety.policy.policy_hash`).

    The hash is taken over what was recorded: a field that policies have had since then does not change it.
    """
    try:
        fields = json.loads(text)
        plain = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        policy = msgspec.convert(fields, type=Policy)
    except (ValueError, msgspec.MsgspecError):
        return None
    return policy if hashlib.sha256(plain.encode()).hexdigest() == digest else None


async def rejudge(trail: TurnTrail, policy: Policy | None) -> Rejudged:
    """Judge a turn again under the policy that was in force; loads the classifier, which takes a second."""
    opened = next((record for record in trail.records if record.kind is Kind.TURN_ACCEPTED), None)
    if opened is None:
        return Rejudged(trail.turn_id, Outcome.CANNOT, Why.REFUSED)
    cannot = Rejudged(trail.turn_id, Outcome.CANNOT, None, opened.policy_hash, opened.classifier_hash)
    if policy is None:
        why = Why.POLICY
    elif opened.normaliser_version != VERSION:
        why = Why.NORMALISER
    elif not trail.message and any(one.characters for one in opened.commitments):
        why = Why.ERASED
    else:
        classifier = HarmClassifier()
        safety = Pipeline((*filters(policy), classifier), policy)
        try:
            if classifier.version == opened.classifier_hash:
                return _summed(cannot, [*await _input(safety, trail, opened), *await _output(safety, trail)])
            why = Why.CLASSIFIER
        finally:
            await safety.close()
    return msgspec.structs.replace(cannot, why=why)


def _summed(turn: Rejudged, stages: Sequence[StageAgain]) -> Rejudged:
    found = {stage.outcome for stage in stages}
    outcome = next((one for one in (Outcome.DIFFERENT, Outcome.CANNOT) if one in found), Outcome.SAME)
    return msgspec.structs.replace(turn, outcome=outcome, stages=tuple(stages))


async def _input(safety: Pipeline, trail: TurnTrail, opened: Entry) -> list[StageAgain]:
    earlier = tuple(text.text for text in trail.dialogue[:-1] if text.role == "user")
    context = TurnContext(direction=Direction.INPUT, groups=opened.groups, window=earlier)
    decision = await safety.examine(trail.message, context)
    recorded = [finding for finding in opened.findings if finding.where == "message"]
    stages = _compared(opened.stages, recorded, (decision,), findings_of(decision, "message"))
    if opened.verdict != decision.action.value:
        stages.append(_other("input.verdict", Why.VERDICT, opened.verdict, decision.action.value))
    return stages if context_known(trail, opened) else [_unsure(stage) for stage in stages]


def context_known(trail: TurnTrail, opened: Entry) -> bool:
    """Whether the earlier messages stand in the log as they were typed; what was cut out or blocked does not."""
    cut = any(one.where != "message" and one.action in _CUTS for one in opened.findings)
    messages = opened.detail.get("messages", 1)
    return messages == 1 or (messages == len(trail.dialogue) and not cut)


def _unsure(stage: StageAgain) -> StageAgain:
    depends = stage.stage in (f"input.{CLASSIFIER}", "input.verdict")
    if stage.outcome is not Outcome.DIFFERENT or not depends:
        return stage
    return StageAgain(stage.stage, Outcome.CANNOT, Why.EARLIER)


async def _output(safety: Pipeline, trail: TurnTrail) -> list[StageAgain]:
    closed = next((one for one in reversed(trail.records) if one.kind.value == trail.closing_kind), None)
    if closed is None or not trail.generated:
        return []
    answer = Answer(safety, closed.groups, limit_chars=len(trail.generated) + 1)
    at = 0
    for end in _ends(trail, closed):  # what was released together ended a stretch, also where the model stalled
        await answer.take([Delta(text=trail.generated[at:end])])
        if answer.blocking is None:
            await answer.finish()
        if answer.blocking is not None:
            break
        at = end
    if closed.detail.get("stopped_by") and answer.blocking is None:
        await answer.take([Delta(finish_reason=FinishReason.CONTENT_FILTER)])
    stages = _compared(closed.stages, closed.findings, answer.decisions, answer.findings)
    now = strictest(answer.decisions).value
    blocked = closed.kind is Kind.TURN_BLOCKED
    if blocked != (answer.blocking is not None):
        stages.append(_other("output.verdict", Why.VERDICT, closed.verdict, now))
    return stages


def _ends(trail: TurnTrail, closed: Entry) -> list[int]:
    """Return where in the generated text stretches surely ended."""
    cut = any(finding.action in _CUTS for finding in closed.findings)
    whole = [] if closed.kind in _UNFINISHED else [len(trail.generated)]
    released = [one for one in trail.records if one.kind is Kind.TURN_RELEASED]
    if cut or len(trail.generated) != len(trail.delivered) + len(trail.withheld):
        return whole  # what was delivered has other offsets than what was generated
    return sorted({one.offset + one.length for one in released} | set(whole))


def _compared(
    recorded: Iterable[StageRecord],
    said: Sequence[FindingRecord],
    decisions: Sequence[Decision],
    findings: Sequence[FindingRecord],
) -> list[StageAgain]:
    now = {one.guard: one for decision in decisions for one in decision.examinations}
    stages = []
    for stage in recorded:
        guard = stage.stage.partition(".")[2]
        if guard == DECODING:
            continue  # the tier's word, not a guard over the text
        if guard not in now:
            again = StageAgain(stage.stage, Outcome.CANNOT, Why.GUARD_GONE)
        elif now[guard].version != stage.version:
            again = StageAgain(stage.stage, Outcome.CANNOT, Why.RULES)
        elif now[guard].status.value != stage.status:
            again = _other(stage.stage, Why.STATUS, stage.status, now[guard].status.value)
        elif not _alike([one for one in said if one.guard == guard], [one for one in findings if one.guard == guard]):
            again = StageAgain(stage.stage, Outcome.DIFFERENT, Why.FINDINGS)
        else:
            again = StageAgain(stage.stage, Outcome.SAME)
        stages.append(again)
    return stages


def _other(stage: str, why: Why, then: str, now: str) -> StageAgain:
    return StageAgain(stage, Outcome.DIFFERENT, why, then, now)


def _alike(then: Sequence[FindingRecord], now: Sequence[FindingRecord]) -> bool:
    def order(one: FindingRecord) -> tuple[object, ...]:
        return (one.rule, one.category, one.start, one.end, one.action, one.band, one.shadow)

    then, now = sorted(then, key=order), sorted(now, key=order)
    return len(then) == len(now) and all(
        order(one) == order(other) and abs(one.score - other.score) <= _SCORE
        for one, other in zip(then, now, strict=True)
    )
