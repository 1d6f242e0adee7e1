"""What changes from one policy to another, field by field, and which way. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from safety.policy_shape import Policy, category_of_rule
from safety.verdict import Action, severity_of

LONGEST_LIST = 30
"""Words of a list that are named; the others are counted."""
_NUMBERS = ("uncertain", "block")
_MODES = ("shadow", "enforce")


class Change(msgspec.Struct, frozen=True):
    """One field that differs."""

    field: str
    before: str
    """Empty: it was not there."""
    after: str
    """Empty: it is there no more."""
    way: str = ""
    """`stricter` or `milder`, where that can be told."""


def changes(before: Policy, after: Policy) -> tuple[Change, ...]:
    """Return every field that differs, in the order of the new policy, then what is gone."""
    old, new = _flat(before), _flat(after)
    fields = [field for field in dict.fromkeys([*new, *old]) if old.get(field) != new.get(field)]
    made = []
    for field in fields:
        way = _way(field, _stands(before, old, field), _stands(after, new, field))
        made.append(_change(field, old.get(field), new.get(field), way))
    return tuple(one for one in made if one.before or one.after)


def _flat(policy: Policy) -> dict[str, Any]:
    return dict(_fields(msgspec.to_builtins(policy), ""))


def _fields(value: object, at: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _fields(part, f"{at}.{name}" if at else str(name))
    elif value is not None:
        yield at, value


def _stands(policy: Policy, flat: Mapping[str, Any], field: str) -> Any:
    """Return what a field is, or what counts where it is left out: the floor, or the action of the rule's category."""
    last, rule = field.rpartition(".")[2], field.rpartition("rules.")[2]
    if field in flat:
        return flat[field]
    if last == "mode":
        return flat.get(f"rules.{rule}", _MODES[1])
    if f"rules.{rule}" in flat:
        return flat[f"rules.{rule}"]
    category = category_of_rule(rule.rpartition(".")[0])
    action = getattr(policy.categories.get(category), last, None) if category is not None else None
    return action.value if isinstance(action, Action) else None


def _change(field: str, before: Any, after: Any, way: str) -> Change:
    if isinstance(before, list | tuple) or isinstance(after, list | tuple):
        old, new = tuple(before or ()), tuple(after or ())
        gone, come = set(old) - set(new), set(new) - set(old)
        return Change(field, _listed([one for one in old if one in gone]), _listed([one for one in new if one in come]))
    return Change(field, _said(before), _said(after), way)


def _way(field: str, before: Any, after: Any) -> str:
    last = field.rpartition(".")[2]
    if last in _NUMBERS and isinstance(before, float | int) and isinstance(after, float | int):
        return "stricter" if after < before else "milder"
    if last == "mode" and {before, after} == set(_MODES):
        return "stricter" if after == "enforce" else "milder"
    try:
        step = severity_of(Action(after)) - severity_of(Action(before))
    except ValueError:
        return ""
    return "stricter" if step > 0 else "milder" if step < 0 else ""


def _said(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _listed(words: Sequence[Any]) -> str:
    shown = ", ".join(map(str, words[:LONGEST_LIST]))
    return f"{shown} … +{len(words) - LONGEST_LIST}" if len(words) > LONGEST_LIST else shown
