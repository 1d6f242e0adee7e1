"""From what guards saw to what is done: a pure function of examinations, policy and context."""

from collections.abc import Iterable, Sequence

from safety.policy_shape import (
    CLASSIFIER,
    SECOND_OPINION,
    Mode,
    Override,
    Policy,
    RuleEntry,
    Thresholds,
    category_action,
)
from safety.ports import Direction, TurnContext
from safety.verdict import (
    Action,
    Band,
    Decision,
    Examination,
    Finding,
    Redaction,
    StageStatus,
    Verdict,
    severity_of,
)

_FILTER_THRESHOLD = 1.0
_CUTS = (Action.REDACT, Action.PSEUDONYMISE)
_STOPS = (Action.BLOCK, Action.ESCALATE)
_DEFAULT_PLACEHOLDER = "[REDACTED]"


def decide(
    examinations: Sequence[Examination],
    policy: Policy,
    context: TurnContext,
    *,
    policy_hash: str,
    normaliser_version: str,
) -> Decision:
    """Judge every finding, answer every failed guard, and let the strictest action rule.

    Findings that end inside `context.overlap` were judged with the text before and are left out; redactions begin
    after it, since what was released can no longer be cut.
    """
    layers = _layers(policy, context.groups)
    verdicts = tuple(
        _judge(finding, policy, layers, context.direction)
        for examination in examinations
        for finding in examination.findings
        if not context.overlap or finding.end > context.overlap
    )
    enforced = [verdict for verdict in verdicts if not verdict.shadow]
    actions = [verdict.action for verdict in enforced]
    failed = [part for part in examinations if part.status in _FAILED and _counts(part, policy)]
    actions += [_on_failure(part.guard, policy, layers) for part in failed]
    return Decision(
        action=max(actions, key=severity_of, default=Action.ALLOW),
        verdicts=verdicts,
        examinations=tuple(examinations),
        policy_hash=policy_hash,
        normaliser_version=normaliser_version,
        redactions=_redactions(enforced, (*layers, policy), context.overlap),
    )


def judge(finding: Finding, policy: Policy, groups: tuple[str, ...], direction: Direction) -> Verdict:
    """Return what the policy makes of one finding in a text of these groups' members."""
    return _judge(finding, policy, _layers(policy, groups), direction)


def _layers(policy: Policy, groups: tuple[str, ...]) -> tuple[Override, ...]:
    return tuple(policy.groups[group] for group in groups if group in policy.groups)


def _counts(examination: Examination, policy: Policy) -> bool:
    """Whether a failure is answered: not that of a second opinion that is only on trial."""
    return examination.guard != SECOND_OPINION or policy.second_opinion.mode is Mode.ENFORCE


_FAILED = (StageStatus.ERROR, StageStatus.TIMED_OUT)


def _judge(finding: Finding, policy: Policy, layers: tuple[Override, ...], direction: Direction) -> Verdict:
    if finding.guard == CLASSIFIER:
        return _judge_score(finding, policy, layers)
    if finding.guard == SECOND_OPINION:
        return _judge_opinion(finding, policy, layers)
    action = max(
        (_filter_action(finding, policy, layer, direction) for layer in (None, *layers)),
        key=severity_of,
    )
    entries = [part.rules[finding.rule] for part in _parts(policy, layers) if finding.rule in part.rules]
    modes = [mode for entry in entries if (mode := _mode(entry, direction)) is not None]
    band = Band.BLOCK if action in _STOPS else Band.ALLOW
    shadow = bool(modes) and Mode.ENFORCE not in modes
    return Verdict(finding=finding, band=band, threshold=_FILTER_THRESHOLD, action=action, shadow=shadow)


def _mode(entry: RuleEntry, direction: Direction) -> Mode | None:
    """Return whether an entry puts the rule on trial or to work: an action that it names is meant to be carried out."""
    named = getattr(entry, direction.value) is not None
    return entry.mode or (Mode.ENFORCE if named else None)


def _judge_opinion(finding: Finding, policy: Policy, layers: tuple[Override, ...]) -> Verdict:
    """Treat what the judge calls harmful like a score over the category's upper threshold."""
    bands = (part.classifier.get(finding.category) for part in _parts(policy, layers))
    parts = [part for part in bands if part is not None]
    action = _strictest(parts, "block_action") if parts else Action.BLOCK
    shadow = policy.second_opinion.mode is Mode.SHADOW
    return Verdict(finding, Band.BLOCK, _FILTER_THRESHOLD, action, shadow)


def _parts(policy: Policy, layers: tuple[Override, ...]) -> tuple[Policy | Override, ...]:
    return (policy, *layers)


def _filter_action(finding: Finding, policy: Policy, layer: Override | None, direction: Direction) -> Action:
    part = policy if layer is None else layer
    entry = part.rules.get(finding.rule)
    named = getattr(entry, direction.value) if entry is not None else None
    if named is not None:
        return Action(named)
    if (rule := part.categories.get(finding.category)) is not None:
        return category_action(rule, direction, finding.severity)
    # A layer that says nothing takes nothing away; a policy that says nothing about a category lets nothing through.
    return Action.ALLOW if layer is not None else Action.BLOCK


def _judge_score(finding: Finding, policy: Policy, layers: tuple[Override, ...]) -> Verdict:
    parts = [
        part.classifier[finding.category] for part in _parts(policy, layers) if finding.category in part.classifier
    ]
    if not parts:
        return Verdict(finding=finding, band=Band.BLOCK, threshold=0.0, action=Action.BLOCK)
    shadow = all(part.mode is Mode.SHADOW for part in parts)
    uncertain, block = min(part.uncertain for part in parts), min(part.block for part in parts)
    if finding.score >= block:
        return Verdict(finding, Band.BLOCK, block, _strictest(parts, "block_action"), shadow)
    if finding.score >= uncertain:
        return Verdict(finding, Band.UNCERTAIN, uncertain, _strictest(parts, "uncertain_action"), shadow)
    return Verdict(finding, Band.ALLOW, uncertain, Action.ALLOW, shadow)


def _strictest(parts: Iterable[Thresholds], name: str) -> Action:
    return max((Action(getattr(part, name)) for part in parts), key=severity_of)


def _on_failure(guard: str, policy: Policy, layers: tuple[Override, ...]) -> Action:
    rules = [policy.failures, *(layer.failures for layer in layers if layer.failures is not None)]
    return max((rule.guards.get(guard, rule.default) for rule in rules), key=severity_of)


def _redactions(
    verdicts: Iterable[Verdict], parts: tuple[Policy | Override, ...], overlap: int
) -> tuple[Redaction, ...]:
    cuts = sorted((v for v in verdicts if v.action in _CUTS), key=lambda v: (v.finding.start, -v.finding.end))
    merged: list[Redaction] = []
    for finding, restorable in ((v.finding, v.action is Action.PSEUDONYMISE) for v in cuts):
        start, end = max(finding.start, overlap), finding.end
        if start >= end:
            continue
        if merged and start < merged[-1].end:
            last = merged[-1]
            merged[-1] = Redaction(last.start, max(last.end, end), last.placeholder, restorable and last.restorable)
        else:
            merged.append(Redaction(start, end, _placeholder(finding, parts), restorable))
    return tuple(merged)


def _placeholder(finding: Finding, parts: tuple[Policy | Override, ...]) -> str:
    """Return the word of the first part that has one: those of the person's groups stand before the floor."""
    for part in parts:
        entry = part.rules.get(finding.rule)
        if entry is not None and entry.placeholder is not None:
            return entry.placeholder
        rule = part.categories.get(finding.category)
        # What is left out reads as the default: then the next part may know better.
        if rule is not None and rule.placeholder != _DEFAULT_PLACEHOLDER:
            return rule.placeholder
    return _DEFAULT_PLACEHOLDER
