"""Every field of a policy that has the wrong shape, not only the first: an author mends them in one go."""

import types
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Union, get_args, get_origin

import msgspec

from safety.policy_problem import Problem, Wrong

MOST = 100
"""Errors that are named; whoever has more mends those first."""


def shape_errors(value: object, shape: type[msgspec.Struct]) -> tuple[Problem, ...]:
    """Return each field that `msgspec.convert` would refuse: its path, and what is wrong with it."""
    return tuple(problem for problem, _ in zip(_errors(value, shape, ""), range(MOST), strict=False))


def _errors(value: object, shape: Any, at: str) -> Iterator[Problem]:
    shape = _chosen(shape, value)
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        yield from _of_struct(value, shape, at)
    elif get_origin(shape) is dict and isinstance(value, dict):
        of_keys, of_values = get_args(shape)
        for name, part in value.items():
            yield from _converted(name, of_keys, _joined(at, name))
            yield from _errors(part, of_values, _joined(at, name))
    else:
        yield from _converted(value, shape, at)


def _of_struct(value: object, shape: type[msgspec.Struct], at: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(Wrong.NOT_FIELDS, "must be fields with values", at)
        return
    fields = {field.name: field for field in msgspec.structs.fields(shape)}
    for name in value:
        if name not in fields:
            yield Problem(Wrong.UNKNOWN_FIELD, f"unknown field `{name}`", at, values={"name": str(name)})
    for name, field in fields.items():
        if name in value:
            yield from _errors(value[name], field.type, _joined(at, name))
        elif field.required:
            yield Problem(Wrong.MISSING_FIELD, f"`{name}` is missing", at, values={"name": name})


def _converted(value: object, shape: Any, at: str) -> Iterable[Problem]:
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        if choices := _choices(shape):
            names = ", ".join(choices)
            return (Problem(Wrong.NOT_ONE_OF, f"{error}: one of {names}", at, values={"names": names}),)
        return (not_a_value(error, at),)
    return ()


def not_a_value(error: msgspec.ValidationError, at: str = "") -> Problem:
    """Return what a check of values says, in its own words."""
    return Problem(Wrong.NOT_A_VALUE, str(error), at, values={"detail": str(error)})


def _choices(shape: Any) -> list[str]:
    """Return the names that a field may have, where it is a choice of names."""
    kinds = get_args(shape) if get_origin(shape) in (Union, types.UnionType) else (shape,)
    return [one.value for kind in kinds if isinstance(kind, type) and issubclass(kind, StrEnum) for one in kind]


def _chosen(shape: Any, value: object) -> Any:
    """Of a choice of shapes return the one that the value can be meant for."""
    if get_origin(shape) not in (Union, types.UnionType):
        return shape
    parts = [part for part in get_args(shape) if part is not type(None)]
    structs = [part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)]
    if isinstance(value, dict) and structs:
        return structs[0]
    return parts[0] if value is not None and len(parts) == 1 else shape


def _joined(at: str, name: object) -> str:
    return f"{at}.{name}" if at else str(name)
