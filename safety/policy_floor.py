"""The floor: what a group is given may only be stricter than what everyone has."""

from collections.abc import Iterable

from safety.policy_problem import Problem, Wrong
from safety.policy_shape import (
    CategoryRule,
    Failures,
    Mode,
    Policy,
    RuleEntry,
    Thresholds,
    category_action,
    category_of_rule,
)
from safety.ports import Direction
from safety.verdict import Severity, severity_of


def weaker_overrides(policy: Policy) -> Iterable[Problem]:
    """Yield each field of a group override that is weaker than the floor."""
    for group, override in policy.groups.items():
        at = f"groups.{group}"
        for category, rule in override.categories.items():
            if (floor := policy.categories.get(category)) is not None:
                yield from _weaker_category(f"{at}.categories.{category}", rule, floor)
        for name, entry in override.rules.items():
            yield from _weaker_rule(f"{at}.rules.{name}", entry, policy.rules.get(name, RuleEntry()), policy, name)
        for category, bands in override.classifier.items():
            if (floor_bands := policy.classifier.get(category)) is not None:
                yield from _weaker_bands(f"{at}.classifier.{category}", bands, floor_bands)
        if override.failures is not None:
            yield from _weaker_failures(f"{at}.failures", override.failures, policy.failures)


def _weaker_category(at: str, rule: CategoryRule, floor: CategoryRule) -> Iterable[Problem]:
    for direction in Direction:
        for severity in Severity:
            ours, least = (category_action(part, direction, severity) for part in (rule, floor))
            if severity_of(ours) < severity_of(least):
                yield _weaker(f"{at}.{direction}", ours, least)
                break


def _weaker_rule(at: str, entry: RuleEntry, floor: RuleEntry, policy: Policy, name: str) -> Iterable[Problem]:
    category = category_of_rule(name)
    for direction in Direction:
        ours = getattr(entry, direction)
        least = getattr(floor, direction)
        if least is None and category in policy.categories:
            least = max((category_action(policy.categories[category], direction, s) for s in Severity), key=severity_of)
        if ours is not None and least is not None and severity_of(ours) < severity_of(least):
            yield _weaker(f"{at}.{direction}", ours, least)
    if entry.mode is Mode.SHADOW and floor.mode is not Mode.SHADOW:
        yield _weaker(f"{at}.mode", Mode.SHADOW, Mode.ENFORCE)


def _weaker_bands(at: str, bands: Thresholds, floor: Thresholds) -> Iterable[Problem]:
    for name in ("uncertain", "block"):
        if getattr(bands, name) > getattr(floor, name):
            yield _weaker(f"{at}.{name}", getattr(bands, name), getattr(floor, name))
        ours, least = (getattr(part, f"{name}_action") for part in (bands, floor))
        if severity_of(ours) < severity_of(least):
            yield _weaker(f"{at}.{name}_action", ours, least)
    if bands.mode is Mode.SHADOW and floor.mode is Mode.ENFORCE:
        yield _weaker(f"{at}.mode", Mode.SHADOW, Mode.ENFORCE)


def _weaker_failures(at: str, ours: Failures, floor: Failures) -> Iterable[Problem]:
    for guard in {*ours.guards, *floor.guards, ""}:
        mine, least = (f.guards.get(guard, f.default) for f in (ours, floor))
        if severity_of(mine) < severity_of(least):
            yield _weaker(f"{at}.{f'guards.{guard}' if guard else 'default'}", mine, least)


def _weaker(at: str, ours: object, floor: object) -> Problem:
    values = {"value": str(ours), "floor": str(floor)}
    return Problem(Wrong.WEAKER, f"{ours} is weaker than the floor's {floor}", at, values=values)
