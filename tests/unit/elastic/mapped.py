"""Every field that a mapping has, by its dotted name."""

from typing import Any

from audit.elastic.families import Family
from audit.elastic.mappings import MAPPINGS


def fields_of(family: Family) -> dict[str, str]:
    """Return every field of a family, dotted → type."""
    return dict(_flattened("", MAPPINGS[family.name]["properties"]))


def _flattened(prefix: str, properties: dict[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, field in properties.items():
        if "properties" in field:
            found += _flattened(f"{prefix}{name}.", field["properties"])
        else:
            found.append((prefix + name, field["type"]))
    return found
