"""From what a turn did to what its records say: pure functions, no text beyond the contents they are given."""

from collections.abc import Iterable

from audit.record import FindingRecord, StageRecord
from safety.verdict import Action, Band, Decision, Examination, StageStatus, severity_of

_WORST = (StageStatus.SKIPPED, StageStatus.RAN, StageStatus.TIMED_OUT, StageStatus.ERROR)


def stages_of(direction: str, decisions: Iterable[Decision]) -> tuple[StageRecord, ...]:
    """Add up what each guard did over several texts: worst status, all characters, all milliseconds."""
    by_guard: dict[str, list[Examination]] = {}
    for decision in decisions:
        for examination in decision.examinations:
            by_guard.setdefault(examination.guard, []).append(examination)
    return tuple(_stage(f"{direction}.{guard}", done) for guard, done in by_guard.items())


def _stage(name: str, done: list[Examination]) -> StageRecord:
    worst = max((examination.status for examination in done), key=_WORST.index)
    return StageRecord(
        stage=name,
        status=worst.value,
        characters=sum(examination.characters for examination in done),
        milliseconds=round(sum(examination.milliseconds for examination in done), 3),
        version=done[-1].version,
        error=next((examination.error for examination in done if examination.error), ""),
    )


def findings_of(decision: Decision, where: str, shift: int = 0) -> tuple[FindingRecord, ...]:
    """Return the findings of one text; `shift` moves spans of a stretch to their place in the whole answer."""
    return tuple(
        FindingRecord(
            guard=verdict.finding.guard,
            rule=verdict.finding.rule,
            category=verdict.finding.category.value,
            start=verdict.finding.start + shift,
            end=verdict.finding.end + shift,
            score=round(verdict.finding.score, 4),
            threshold=verdict.threshold,
            band=verdict.band.value,
            action=verdict.action.value,
            where=where,
            shadow=verdict.shadow,
        )
        for verdict in decision.verdicts
    )


def strictest(decisions: Iterable[Decision]) -> Action:
    """Return the action that rules over several texts; `allow` when there is none."""
    return max((decision.action for decision in decisions), key=severity_of, default=Action.ALLOW)


def blocking(decision: Decision) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return categories and rules of the enforced verdicts that stop the text, for the person's panel."""
    stopping = [
        verdict
        for verdict in decision.verdicts
        if not verdict.shadow and verdict.action in (Action.BLOCK, Action.ESCALATE)
    ]
    categories = dict.fromkeys(verdict.finding.category.value for verdict in stopping)
    rules = dict.fromkeys(verdict.finding.rule for verdict in stopping)
    return tuple(categories), tuple(rules)


def reason_of(decision: Decision, side: str) -> str:
    """Return the stable code of a block: by a verdict (`input_blocked`), or because a guard could not speak."""
    categories, _ = blocking(decision)
    if categories:
        return f"{side}_blocked"
    return "guard_failed"


def uncertain(decision: Decision) -> bool:
    """Whether any enforced verdict falls between the two thresholds."""
    return any(verdict.band is Band.UNCERTAIN and not verdict.shadow for verdict in decision.verdicts)
