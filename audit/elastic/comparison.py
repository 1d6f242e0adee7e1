"""What a document or mapping in Elasticsearch has that it should not have, or the other way round. Pure."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from audit.elastic.families import Family
from audit.elastic.mappings import EARLIER, MAPPINGS
from audit.elastic.projection import without_volatile

TURN = "attest.turn."
"""How the names of a turn's fields begin."""
TEXTS = ("attest.text", "attest.search")
"""How the names of fields begin that hold texts."""
_LONGEST_NAME = 80
_NO_PARAMETERS = frozenset({"properties", "runtime", "_meta"})


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


def differences(wanted: dict[str, Any], found: dict[str, Any], untold: tuple[str, ...] = ()) -> list[str]:
    """Return the dotted names of fields that differ; without those that begin with one of `untold`."""
    expected, held = dict(_flat(without_volatile(wanted))), dict(_flat(without_volatile(found)))
    names = {name for name in expected.keys() | held.keys() if expected.get(name) != held.get(name)}
    return sorted(name[:_LONGEST_NAME] for name in names if not name.startswith(untold))


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield dotted names and values as JSON, so that 1, 1.0 and true are three values."""
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, msgspec.json.encode(value, order="sorted")


_MEANING = frozenset({"analysis", "similarity", "mapping", "default_pipeline", "final_pipeline"})
"""Settings of an index that say what its fields mean, or what becomes of a document on its way in."""


def foreign_mappings(family: Family, mappings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (index, what) for whatever in the mappings of indices is not ours: a field, or how it is searched."""
    ours, earlier = MAPPINGS[family.name], EARLIER.get(family.name, {})
    for index, answer in mappings.items():
        mapping = answer.get("mappings", {})
        if mapping.get("runtime"):
            yield index, "it has runtime fields"
        for what in _parameters("it", ours, mapping):
            yield index, what
        for what in _fields(ours["properties"], mapping.get("properties", {}), earlier):
            yield index, what


def foreign_settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (index, what) for settings of indices that change how documents are found or stored: we make none of them.

    An analyser of an index's own may be called `standard`, too.
    """
    for index, answer in settings.items():
        for name, value in sorted(answer.get("settings", {}).get("index", {}).items()):
            if name in _MEANING:
                yield index, f"it has the setting {name} {msgspec.json.encode(value).decode()[:_LONGEST_NAME]}"


def made_at(answer: Mapping[str, Any]) -> datetime:
    """Return when an index was made, by the settings that the server says of it; if they do not say: ages ago."""
    made_ms = answer.get("settings", {}).get("index", {}).get("creation_date", 0)
    return datetime.fromtimestamp(int(made_ms) / 1000, UTC)


def _fields(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], earlier: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    for last in sorted(ours.keys() | theirs.keys()):
        name, wanted, found = prefix + last, ours.get(last), theirs.get(last)
        if name in earlier and found == earlier[name]:
            continue
        if wanted is None:
            yield f"it has a field {name[:_LONGEST_NAME]}"
        elif found is None:
            yield f"it has no field {name}"
        else:
            yield from _parameters(f"field {name}", wanted, found)
            yield from _fields(wanted.get("properties", {}), found.get("properties", {}), earlier, f"{name}.")


def _parameters(whose: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs between two definitions. A server gives ours back as it was: it names no defaults."""
    for name in sorted((ours.keys() | theirs.keys()) - _NO_PARAMETERS):
        if name not in theirs:
            yield f"{whose} has no {name}"
        elif ours.get(name) != theirs[name]:
            yield f"{whose} has {name} {msgspec.json.encode(theirs[name]).decode()[:_LONGEST_NAME]}"
