"""A policy as lines that people read: what is done about what, in which direction. Pure."""

import msgspec

from safety.policy_shape import (
    BySeverity,
    CategoryRule,
    Failures,
    Mode,
    Override,
    Policy,
    RuleEntry,
    SampleRule,
    SecondOpinionRule,
    Thresholds,
)
from safety.verdict import Action

Does = tuple[tuple[str, str], ...]
"""Degree (`low`, `medium`, `high`; empty: any) and what is done; empty where a wider rule decides."""


class RuleLine(msgspec.Struct, frozen=True):
    """What is done about findings of a category or of one rule."""

    name: str
    input: Does
    output: Does
    placeholder: str
    shadow: bool = False


class BandLine(msgspec.Struct, frozen=True):
    """The bands of one category of the classifier."""

    name: str
    uncertain: float
    block: float
    uncertain_action: str
    block_action: str
    shadow: bool


class PartLines(msgspec.Struct, frozen=True):
    """What stands for everyone, or instead for the members of one group."""

    categories: tuple[RuleLine, ...]
    rules: tuple[RuleLine, ...]
    bands: tuple[BandLine, ...]
    failures: tuple[tuple[str, str], ...]
    """Guard (empty: any other) and what is done when it fails."""


class ListLine(msgspec.Struct, frozen=True):
    """A company list."""

    name: str
    severity: str
    words: tuple[str, ...]
    allowed: tuple[str, ...]


class Lines(msgspec.Struct, frozen=True):
    """A whole policy."""

    everyone: PartLines
    groups: tuple[tuple[str, PartLines], ...]
    lists: tuple[ListLine, ...]
    second_opinion: SecondOpinionRule
    samples: SampleRule


def readable(policy: Policy) -> Lines:
    """Return a completed policy in lines."""
    return Lines(
        everyone=_part(policy),
        groups=tuple((name, _part(override)) for name, override in policy.groups.items()),
        lists=tuple(ListLine(name, one.severity.value, one.words, one.allow) for name, one in policy.company.items()),
        second_opinion=policy.second_opinion,
        samples=policy.samples,
    )


def on_trial(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Return what is only recorded: (`rule` or `category`, its name), in the policy and in its groups."""
    found: dict[tuple[str, str], None] = {}
    parts: tuple[Policy | Override, ...] = (policy, *policy.groups.values())
    for part in parts:
        found |= {("rule", name): None for name, entry in part.rules.items() if entry.mode is Mode.SHADOW}
        found |= {("category", name.value): None for name, b in part.classifier.items() if b.mode is Mode.SHADOW}
    return tuple(found)


def _part(part: Policy | Override) -> PartLines:
    return PartLines(
        categories=tuple(_rule(name.value, rule) for name, rule in part.categories.items()),
        rules=tuple(_rule(name, entry) for name, entry in part.rules.items()),
        bands=tuple(_band(name.value, bands) for name, bands in part.classifier.items()),
        failures=_failures(part.failures),
    )


def _rule(name: str, rule: CategoryRule | RuleEntry) -> RuleLine:
    shadow = isinstance(rule, RuleEntry) and rule.mode is Mode.SHADOW
    return RuleLine(name, _does(rule.input), _does(rule.output), rule.placeholder or "", shadow)


def _band(name: str, bands: Thresholds) -> BandLine:
    return BandLine(
        name=name,
        uncertain=bands.uncertain,
        block=bands.block,
        uncertain_action=bands.uncertain_action.value,
        block_action=bands.block_action.value,
        shadow=bands.mode is Mode.SHADOW,
    )


def _does(action: Action | BySeverity | None) -> Does:
    if action is None:
        return ()
    if isinstance(action, Action):
        return (("", action.value),)
    degrees = (("low", action.low), ("medium", action.medium), ("high", action.high))
    if action.low is action.medium is action.high:
        return (("", action.low.value),)
    return tuple((degree, does.value) for degree, does in degrees)


def _failures(failures: Failures | None) -> tuple[tuple[str, str], ...]:
    if failures is None:
        return ()
    return (*((name, does.value) for name, does in failures.guards.items()), ("", failures.default.value))
