"""Every field of a policy that has the wrong shape, not only the first: an author mends them in one go."""

import types
from collections.abc import Iterable, Iterator
from typing import Any, Union, get_args, get_origin

import msgspec

MOST = 100
"""Errors that are named; whoever has more mends those first."""


def shape_errors(value: object, shape: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return one line for each field that `msgspec.convert` would refuse: its path, and what is wrong with it."""
    return tuple(line for line, _ in zip(_errors(value, shape, ""), range(MOST), strict=False))


def _errors(value: object, shape: Any, at: str) -> Iterator[str]:
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


def _of_struct(value: object, shape: type[msgspec.Struct], at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at or 'the policy'}: must be fields with values"
        return
    fields = {field.name: field for field in msgspec.structs.fields(shape)}
    yield from (f"{at or 'the policy'}: unknown field `{name}`" for name in value if name not in fields)
    for name, field in fields.items():
        if name in value:
            yield from _errors(value[name], field.type, _joined(at, name))
        elif field.required:
            yield f"{at or 'the policy'}: `{name}` is missing"


def _converted(value: object, shape: Any, at: str) -> Iterable[str]:
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        return (f"{at or 'the policy'}: {error}",)
    return ()


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
