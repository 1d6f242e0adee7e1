"""What changes from one policy to another, field by field, and which way. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from safety.policy_shape import BySeverity, Policy, category_of_rule
from safety.verdict import Action, severity_of

LONGEST_LIST = 30
"""Words of a list that are named; the others are counted."""
_NUMBERS = ("uncertain", "block")
_MODES = ("shadow", "enforce")
_DEGREES = BySeverity.__struct_fields__

Path = tuple[str, ...]
"""Names of fields from the outside in. One may hold dots itself: a rule, a group."""


class Change(msgspec.Struct, frozen=True):
    """One field that differs."""

    field: str
    """Where it stands in the policy, with dots."""
    before: str
    """Empty: it was not there."""
    after: str
    """Empty: it is there no more."""
    way: str = ""
    """`stricter` or `milder`, where that can be told."""
    path: Path = ()


def changes(before: Policy, after: Policy) -> tuple[Change, ...]:
    """Return every field that differs, in the order of the new policy, then what is gone."""
    old, new = _by_degree(before, after)
    paths = [path for path in dict.fromkeys([*new, *old]) if old.get(path) != new.get(path)]
    made = []
    for path in paths:
        way = _way(path[-1], _stands(before, old, path), _stands(after, new, path))
        made.append(_change(path, old.get(path), new.get(path), way))
    return tuple(one for one in made if one.before or one.after)


def _by_degree(before: Policy, after: Policy) -> tuple[dict[Path, Any], dict[Path, Any]]:
    """Return the fields of both; an action that the other one tells apart by degree stands for each degree."""
    old, new = (dict(_fields(msgspec.to_builtins(one), ())) for one in (before, after))
    return dict(_spread(old, new)), dict(_spread(new, old))


def _spread(flat: Mapping[Path, Any], other: Mapping[Path, Any]) -> Iterator[tuple[Path, Any]]:
    for path, value in flat.items():
        if (*path, _DEGREES[0]) in other:
            yield from (((*path, degree), value) for degree in _DEGREES)
        else:
            yield path, value


def _fields(value: object, at: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _fields(part, (*at, str(name)))
    elif value is not None:
        yield at, value


def _stands(policy: Policy, flat: Mapping[Path, Any], path: Path) -> Any:
    """Return what a field is, or what counts where it is left out: what holds for everyone, any guard, the category."""
    floor = path[2:] if path[0] == "groups" else path
    for at in (path, floor, floor[:-1]):  # the last: an action for all degrees
        if at in flat:
            return flat[at]
    if floor[:2] == ("failures", "guards"):
        return policy.failures.default.value
    last = floor[-1]
    if last == "mode":
        return _MODES[1]
    category = category_of_rule(floor[1]) if floor[0] == "rules" else None
    action = getattr(policy.categories.get(category), last, None) if category is not None else None
    return action.value if isinstance(action, Action) else None


def _change(path: Path, before: Any, after: Any, way: str) -> Change:
    field = ".".join(path)
    if isinstance(before, list | tuple) or isinstance(after, list | tuple):
        old, new = tuple(before or ()), tuple(after or ())
        gone, come = set(old) - set(new), set(new) - set(old)
        lost, won = _listed([one for one in old if one in gone]), _listed([one for one in new if one in come])
        return Change(field, lost, won, path=path)
    return Change(field, _said(before), _said(after), way, path)


def _way(last: str, before: Any, after: Any) -> str:
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
