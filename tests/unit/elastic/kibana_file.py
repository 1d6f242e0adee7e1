"""What the file that Kibana imports asks, read from the file alone."""

import json
from typing import Any

import msgspec

from audit.elastic.kibana import ndjson

OBJECTS: list[dict[str, Any]] = [json.loads(line) for line in ndjson().splitlines()]
_TITLES: dict[str, str] = {one["id"]: one["attributes"]["title"] for one in OBJECTS if one["type"] == "index-pattern"}


class Column(msgspec.Struct, frozen=True):
    """One column of what a panel asks for."""

    operation: str
    """`terms`, `date_histogram`, `count`, `max`, `sum` or `percentile`."""
    field: str
    percent: int = 0


class Question(msgspec.Struct, frozen=True):
    """What a panel or a saved search asks."""

    id: str
    pattern: str
    """The indices: the title of the data view that it refers to."""
    query: str
    look: str = ""
    columns: tuple[Column, ...] = ()
    shown: tuple[str, ...] = ()
    """Fields that a saved search shows."""


def panels() -> list[Question]:
    """Return what each panel asks."""
    return [_panel(one) for one in OBJECTS if one["type"] == "lens"]


def listings() -> list[Question]:
    """Return what each saved search asks."""
    return [_listing(one) for one in OBJECTS if one["type"] == "search"]


def _panel(lens: dict[str, Any]) -> Question:
    state = lens["attributes"]["state"]
    ((name, layer),) = state["datasourceStates"]["formBased"]["layers"].items()
    return Question(
        id=lens["id"],
        pattern=_pattern(lens, f"indexpattern-datasource-layer-{name}"),
        query=state["query"]["query"],
        look=lens["attributes"]["visualizationType"],
        columns=tuple(_column(layer["columns"][one]) for one in layer["columnOrder"]),
    )


def _column(column: dict[str, Any]) -> Column:
    return Column(column["operationType"], column["sourceField"], column["params"].get("percentile", 0))


def _listing(search: dict[str, Any]) -> Question:
    source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    return Question(
        id=search["id"],
        pattern=_pattern(search, source["indexRefName"]),
        query=source["query"]["query"],
        shown=tuple(search["attributes"]["columns"]),
    )


def _pattern(one: dict[str, Any], name: str) -> str:
    (target,) = [reference["id"] for reference in one["references"] if reference["name"] == name]
    return _TITLES[target]
