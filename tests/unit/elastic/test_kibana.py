"""Kibana's objects as far as they can be checked without Kibana: shape, references, and that every field exists."""

import json
import re

import pytest

from audit.elastic.families import CONTENT, FAMILIES
from audit.elastic.kibana import objects
from audit.elastic.panels import BOARDS, LISTINGS
from tests.unit.elastic.kibana_file import OBJECTS, Column, Question, listings, panels
from tests.unit.elastic.mapped import fields_of

PANELS = [panel for board in BOARDS for panel in board.panels]
FIELDS = {family.pattern: fields_of(family) for family in FAMILIES}
RECORDS, TIME = "___records___", "@timestamp"
VERSIONS = {"index-pattern": "8.0.0", "lens": "8.9.0", "search": "10.2.0", "dashboard": "8.9.0"}


def asked(query: str) -> set[str]:
    return set(re.findall(r"([@\w.]+) :", query))


def test_every_line_is_one_object_with_its_versions():
    assert objects() == OBJECTS
    for one in OBJECTS:
        assert set(one) == {
            *("type", "id", "attributes", "references", "coreMigrationVersion", "typeMigrationVersion", "managed"),
        }
        assert one["coreMigrationVersion"] == "8.8.0"
        assert one["typeMigrationVersion"] == VERSIONS[one["type"]]
        assert one["managed"] is False
    names = [(one["type"], one["id"]) for one in OBJECTS]
    assert len(names) == len(set(names))
    assert [kind for kind, _ in names].count("dashboard") == 2


def test_references_resolve_and_are_used():
    there = set()
    for one in OBJECTS:
        for reference in one["references"]:
            assert (reference["type"], reference["id"]) in there, reference
        there.add((one["type"], one["id"]))
    used = {(reference["type"], reference["id"]) for one in OBJECTS for reference in one["references"]}
    assert {("lens", panel.id) for panel in PANELS} <= used


def test_what_is_json_in_a_string_is_json():
    for one in OBJECTS:
        attributes = one["attributes"]
        if one["type"] == "index-pattern":
            for name in ("fieldAttrs", "fieldFormatMap", "runtimeFieldMap"):
                assert attributes[name] == "{}"
        if one["type"] in {"search", "dashboard"}:
            source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
            assert source["query"]["language"] == "kuery"
        if one["type"] == "search":
            assert source["indexRefName"] == one["references"][0]["name"]


def test_dashboards_place_their_panels_on_the_grid_without_overlap():
    for one in (one for one in OBJECTS if one["type"] == "dashboard"):
        taken = set()
        references = {reference["name"] for reference in one["references"]}
        json.loads(one["attributes"]["optionsJSON"])
        for panel in json.loads(one["attributes"]["panelsJSON"]):
            grid = panel["gridData"]
            assert grid["x"] + grid["w"] <= 48
            cells = {
                (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & taken
            taken |= cells
            assert grid["i"] == panel["panelIndex"]
            assert f"{panel['panelIndex']}:{panel['panelRefName']}" in references


def test_the_file_asks_what_the_panels_say():
    assert panels() == [
        Question(
            id=panel.id,
            pattern=panel.family.pattern,
            query=panel.query,
            look={"number": "lnsMetric", "table": "lnsDatatable"}.get(panel.look, "lnsXY"),
            columns=(
                *(Column("terms", field) for field in panel.by),
                *([Column("date_histogram", TIME)] if panel.look in {"bars", "line"} else []),
                *(Column(one.of, one.field or RECORDS, one.percent) for one in panel.metrics),
            ),
        )
        for panel in PANELS
    ]
    assert listings() == [
        Question(id=one.id, pattern=one.family.pattern, query=one.query, shown=one.columns) for one in LISTINGS
    ]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel.id)
def test_every_field_of_a_panel_is_in_the_mapping(panel: Question):
    fields = FIELDS[panel.pattern]
    assert asked(panel.query) <= set(fields)
    assert panel.query
    types = {"terms": {"keyword"}, "date_histogram": {"date_nanos", "date"}}
    for column in panel.columns:
        if column.operation == "count":
            assert column.field == RECORDS
        else:
            assert fields[column.field] in types.get(column.operation, {"long", "double"}), column.field


@pytest.mark.parametrize("listing", listings(), ids=lambda listing: listing.id)
def test_every_field_of_a_saved_search_is_in_the_mapping(listing: Question):
    assert {*listing.shown, *asked(listing.query)} <= set(FIELDS[listing.pattern])
    assert listing.query
    assert listing.shown


@pytest.mark.parametrize("one", [one for one in OBJECTS if one["type"] == "lens"], ids=lambda one: one["id"])
def test_the_columns_of_a_panel_are_those_that_it_shows(one):
    state = one["attributes"]["state"]
    (layer,) = state["datasourceStates"]["formBased"]["layers"].values()
    columns = layer["columns"]
    assert layer["columnOrder"] == list(columns)
    look = state["visualization"]
    shown = look.get("layers", [look])[0]
    named = {
        shown.get("metricAccessor"),
        shown.get("xAccessor"),
        shown.get("splitAccessor"),
        *shown.get("accessors", ()),
    }
    named |= {column["columnId"] for column in shown.get("columns", ())}
    assert named - {None} == set(columns)
    for column in columns.values():
        if column["operationType"] == "terms":
            assert column["params"]["orderBy"]["columnId"] in columns


def test_no_dashboard_for_security_shows_texts():
    assert all(panel.pattern != CONTENT.pattern for panel in panels())
