"""A mapping is ours to the last parameter, or it is named; what a month was begun with earlier is no finding."""

import copy
from typing import Any

import pytest

from audit.elastic.comparison import foreign_mappings
from audit.elastic.families import CONTENT, FAMILIES
from audit.elastic.mappings import MAPPINGS

INDEX = "attest-content-2026.11"


def changed(path: str, field: object) -> dict[str, Any]:
    """Return our mapping of texts with one thing put in the place of another, or taken away."""
    mapping = place = copy.deepcopy(MAPPINGS[CONTENT.name])
    *before, last = path.split(".")
    for name in before:
        place = place[name]
    if field is None:
        del place[last]
    else:
        place[last] = field
    return mapping


def named(mapping: dict[str, Any]) -> list[str]:
    found = list(foreign_mappings(CONTENT, {INDEX: {"mappings": mapping}}))
    assert {index for index, _ in found} <= {INDEX}
    return [what for _, what in found]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_our_own_mappings_are_not_foreign(family):
    assert list(foreign_mappings(family, {"any": {"mappings": MAPPINGS[family.name]}})) == []


def test_a_month_that_was_begun_with_an_older_mapping_is_not_foreign():
    body = {"type": "text", "analyzer": "standard"}
    assert named(changed("properties.attest.properties.text.properties.body", body)) == []
    assert named(changed("properties.attest.properties.text.properties.body", {**body, "norms": False})) == [
        'field attest.text.body has analyzer "standard"',
        "field attest.text.body has no index",
        "field attest.text.body has norms false",
    ]


SEARCH = "properties.attest.properties.search"
USER = "properties.user.properties"
KEYWORD = {"type": "keyword"}
CHANGES = {
    "another analyser of what is asked": (
        changed(SEARCH, {"type": "text", "analyzer": "standard", "search_analyzer": "keyword"}),
        'field attest.search has search_analyzer "keyword"',
    ),
    "another analyser": (
        changed(SEARCH, {"type": "text", "analyzer": "keyword"}),
        'field attest.search has analyzer "keyword"',
    ),
    "none": (changed(SEARCH, {"type": "text"}), "field attest.search has no analyzer"),
    "a limit": (changed(f"{USER}.id", {**KEYWORD, "ignore_above": 1}), "field user.id has ignore_above 1"),
    "not indexed": (changed(f"{USER}.id", {**KEYWORD, "index": False}), "field user.id has index false"),
    "another type": (changed(f"{USER}.id", {"type": "long"}), 'field user.id has type "long"'),
    "a second field": (
        changed(f"{USER}.id", {**KEYWORD, "fields": {"x": KEYWORD}}),
        'field user.id has fields {"x":{"type":"keyword"}}',
    ),
    "a field of their own": (changed(f"{USER}.nickname", KEYWORD), "it has a field user.nickname"),
    "a field less": (changed(f"{USER}.id", None), "it has no field user.id"),
    "an object less": (changed("properties.user", None), "it has no field user"),
    "an object that is not looked into": (
        changed("properties.user", {**MAPPINGS[CONTENT.name]["properties"]["user"], "enabled": False}),
        "field user has enabled false",
    ),
    "objects apart": (
        changed("properties.user", {**MAPPINGS[CONTENT.name]["properties"]["user"], "type": "nested"}),
        'field user has type "nested"',
    ),
    "unknown fields are taken": (changed("dynamic", "false"), 'it has dynamic "false"'),
    "parts of documents are not kept": (changed("_source", {"excludes": ["x"]}), 'it has _source {"excludes":["x"]}'),
    "computed": (changed("runtime", {"user.id": KEYWORD}), "it has runtime fields"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_ours_is_named(change: str):
    mapping, what = CHANGES[change]
    assert named(mapping) == [what]
