"""What a document or mapping in Elasticsearch has that it should not have, or the other way round. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from audit.elastic.families import Family
from audit.elastic.mappings import fields_of
from audit.elastic.projection import without_volatile

_TURN = "attest.turn."
_LONGEST_NAME = 80


class Hit(msgspec.Struct, frozen=True):
    """A document as the store gives it."""

    index: str
    id: str
    sequence: int
    """Its first sequence; -1 where it has none that is a number."""
    source: dict[str, Any]

    @classmethod
    def of(cls, hit: Mapping[str, Any]) -> "Hit":
        """Read a hit of a search, or a document that was asked for by id."""
        source = hit.get("_source")
        whole = source if isinstance(source, dict) else {}
        return cls(hit["_index"], hit["_id"], _sequence(hit, whole), whole)


def _sequence(hit: Mapping[str, Any], source: dict[str, Any]) -> int:
    """Return what the store sorts by (a document may write its sequence as text, or several), else what it says."""
    sort = hit.get("sort")
    if isinstance(sort, list) and len(sort) > 1 and type(sort[0]) is int:
        return sort[0]
    event = source.get("event")
    said = event.get("sequence") if isinstance(event, dict) else None
    return said if type(said) is int else -1


def normal(source: dict[str, Any]) -> dict[str, Any]:
    """Return a document as it comes back from a store that was given it."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(source))
    return decoded


def differences(wanted: dict[str, Any], found: dict[str, Any], *, turn: bool = True) -> list[str]:
    """Return the dotted names of fields that differ; without those of the turn where `turn` is false."""
    expected, held = dict(_flat(without_volatile(wanted))), dict(_flat(without_volatile(found)))
    names = {name for name in expected.keys() | held.keys() if expected.get(name) != held.get(name)}
    return sorted(name[:_LONGEST_NAME] for name in names if turn or not name.startswith(_TURN))


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield dotted names and values as JSON, so that 1, 1.0 and true are three values."""
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, msgspec.json.encode(value, order="sorted")


def foreign_mappings(family: Family, mappings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (index, what) for indices whose fields are not ours, or that compute fields while they are searched."""
    ours = fields_of(family)
    for index, answer in mappings.items():
        mapping = answer.get("mappings", {})
        if mapping.get("runtime"):
            yield index, "it has runtime fields"
        for name, kind in _types(mapping.get("properties", {})):
            if ours.get(name) != kind:
                yield index, f"field {name[:_LONGEST_NAME]} has the type {kind[:_LONGEST_NAME]}"


def _types(properties: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in properties.items():
        if "properties" in field:
            yield from _types(field["properties"], f"{prefix}{name}.")
        else:
            yield prefix + name, str(field.get("type", "object"))
        for more, inner in field.get("fields", {}).items():
            yield f"{prefix}{name}.{more}", str(inner.get("type", "object"))
