"""Kibana's objects: data views, saved searches, panels and dashboards, written as its import takes them.

Each line is one saved object; some attributes are JSON inside a string, as Kibana's own exports have them. The versions
are those that exports of Kibana 9 carry: without them an import may fail.
"""

import json
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import aiohttp

from audit.elastic.client import Identity
from audit.elastic.families import FAMILIES, Family
from audit.elastic.panels import BOARDS, COUNT, LISTINGS, Board, Listing, Metric, Panel

_CORE = "8.8.0"
_VERSIONS = {"index-pattern": "8.0.0", "lens": "8.9.0", "search": "10.2.0", "dashboard": "8.9.0"}
_GRID = 48
_LISTING_HEIGHT = 14
_LAYER = "layer"
_SOURCE = "kibanaSavedObjectMeta.searchSourceJSON.index"
_IMPORT_S = 60
_OK = 200

_Object = dict[str, Any]


class KibanaError(Exception):
    """Kibana did not take its objects; the message says why."""


def objects() -> list[_Object]:
    """Return every saved object; what others refer to comes first."""
    panels = [panel for board in BOARDS for panel in board.panels]
    return [
        *(_data_view(family) for family in FAMILIES),
        *(_listing(one) for one in LISTINGS),
        *(_lens(panel) for panel in panels),
        *(_dashboard(board) for board in BOARDS),
    ]


def ndjson() -> str:
    """Return the objects as a file that Kibana imports (Stack Management, Saved Objects, Import)."""
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects())


async def import_objects(url: str, identity: Identity, ca_file: Path | None = None) -> int:
    """Import everything, replacing older ones; return how many. Raises `KibanaError`."""
    headers = {"kbn-xsrf": "attest"}
    if identity.api_key:
        headers["authorization"] = f"ApiKey {identity.api_key}"
    elif identity.user:
        headers["authorization"] = f"Basic {b64encode(f'{identity.user}:{identity.password}'.encode()).decode()}"
    form = aiohttp.FormData()
    form.add_field("file", ndjson().encode(), filename="attest.ndjson", content_type="application/ndjson")
    address = f"{url.rstrip('/')}/api/saved_objects/_import?overwrite=true"
    trust: ssl.SSLContext | bool = True
    if ca_file is not None:
        trust = ssl.create_default_context(cafile=str(ca_file))
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_IMPORT_S)) as http,
            http.post(address, data=form, headers=headers, ssl=trust) as answer,
        ):
            if answer.status != _OK:
                raise KibanaError(f"Kibana refused its objects (status {answer.status}).")
            done = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise KibanaError(f"Kibana cannot be reached ({type(error).__name__}).") from error
    if not done.get("success"):
        first: _Object = next(iter(done.get("errors", [])), {})
        raise KibanaError(f"Kibana refused {first.get('id', 'its objects')}: {first.get('error', {}).get('type', '')}.")
    return int(done.get("successCount", 0))


def _object(kind: str, name: str, attributes: _Object, references: list[_Object]) -> _Object:
    return {
        "type": kind,
        "id": name,
        "attributes": attributes,
        "references": references,
        "coreMigrationVersion": _CORE,
        "typeMigrationVersion": _VERSIONS[kind],
        "managed": False,
    }


def _reference(kind: str, name: str, target: str) -> _Object:
    return {"type": kind, "name": name, "id": target}


def _data_view(family: Family) -> _Object:
    attributes = {
        "title": family.pattern,
        "name": family.name,
        "timeFieldName": "@timestamp",
        "fieldAttrs": "{}",
        "fieldFormatMap": "{}",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
    }
    return _object("index-pattern", family.name, attributes, [])


def _listing(listing: Listing) -> _Object:
    source = {"query": _kuery(listing.query), "filter": [], "indexRefName": _SOURCE}
    attributes = {
        "title": listing.title,
        "description": "",
        "columns": list(listing.columns),
        "sort": [["@timestamp", "desc"]],
        "grid": {},
        "hideChart": False,
        "isTextBasedQuery": False,
        "timeRestore": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
    }
    return _object("search", listing.id, attributes, [_reference("index-pattern", _SOURCE, listing.family.name)])


def _lens(panel: Panel) -> _Object:
    columns = _columns(panel)
    state = {
        "datasourceStates": {
            "formBased": {
                "layers": {
                    _LAYER: {"columns": columns, "columnOrder": list(columns), "incompleteColumns": {}, "sampling": 1}
                }
            }
        },
        "visualization": _LOOKS[panel.look][1](panel),
        "query": _kuery(panel.query),
        "filters": [],
        "internalReferences": [],
        "adHocDataViews": {},
    }
    attributes = {
        "title": f"Attest: {panel.title}",
        "description": "",
        "visualizationType": _LOOKS[panel.look][0],
        "state": state,
    }
    view = _reference("index-pattern", f"indexpattern-datasource-layer-{_LAYER}", panel.family.name)
    return _object("lens", panel.id, attributes, [view])


def _dashboard(board: Board) -> _Object:
    panels, references, x, y, row = [], [], 0, 0, 0
    shown: list[tuple[str, str, int, int]] = [("lens", one.id, one.width, one.height) for one in board.panels]
    shown += [("search", one.id, _GRID, _LISTING_HEIGHT) for one in board.listings]
    for nth, (kind, name, width, height) in enumerate(shown, 1):
        if x + width > _GRID:
            x, y, row = 0, y + row, 0
        panels.append(
            {
                "type": kind,
                "gridData": {"x": x, "y": y, "w": width, "h": height, "i": str(nth)},
                "panelIndex": str(nth),
                "embeddableConfig": {"enhancements": {}},
                "panelRefName": f"panel_{nth}",
            }
        )
        references.append(_reference(kind, f"{nth}:panel_{nth}", name))
        x, row = x + width, max(row, height)
    options = {
        "useMargins": True,
        "syncColors": True,
        "syncCursor": True,
        "syncTooltips": False,
        "hidePanelTitles": False,
    }
    attributes = {
        "title": board.title,
        "description": board.description,
        "panelsJSON": json.dumps(panels),
        "optionsJSON": json.dumps(options),
        "timeRestore": True,
        "timeFrom": "now-7d",
        "timeTo": "now",
        "version": 1,
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": _kuery(""), "filter": []})},
    }
    return _object("dashboard", board.id, attributes, references)


def _kuery(query: str) -> _Object:
    return {"query": query, "language": "kuery"}


def _columns(panel: Panel) -> dict[str, _Object]:
    """Return the columns of a panel's table: what it is cut by first, then what is counted."""
    columns: dict[str, _Object] = {f"by{nth}": _terms(field) for nth, field in enumerate(panel.by)}
    if panel.look in {"bars", "line"}:
        columns["time"] = {
            "label": "@timestamp",
            "dataType": "date",
            "operationType": "date_histogram",
            "sourceField": "@timestamp",
            "isBucketed": True,
            "scale": "interval",
            "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False},
        }
    return columns | {f"metric{nth}": _metric(metric) for nth, metric in enumerate(panel.metrics)}


def _terms(field: str) -> _Object:
    return {
        "label": field,
        "dataType": "string",
        "operationType": "terms",
        "sourceField": field,
        "isBucketed": True,
        "scale": "ordinal",
        "params": {
            "size": 10,
            "orderBy": {"type": "column", "columnId": "metric0"},
            "orderDirection": "desc",
            "otherBucket": True,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
        },
    }


def _metric(metric: Metric) -> _Object:
    common = {
        "label": metric.label,
        "customLabel": True,
        "dataType": "number",
        "operationType": metric.of,
        "isBucketed": False,
        "scale": "ratio",
    }
    if metric.of == COUNT:
        return {**common, "sourceField": "___records___", "params": {"emptyAsNull": False}}
    params = {"percentile": metric.percent} if metric.of == "percentile" else {"emptyAsNull": True}
    return {**common, "sourceField": metric.field, "params": params}


def _number(_: Panel) -> _Object:
    return {"layerId": _LAYER, "layerType": "data", "metricAccessor": "metric0"}


def _table(panel: Panel) -> _Object:
    return {"layerId": _LAYER, "layerType": "data", "columns": [{"columnId": name} for name in _columns(panel)]}


def _bars(panel: Panel) -> _Object:
    return _chart(panel, "bar_stacked")


def _line(panel: Panel) -> _Object:
    return _chart(panel, "line")


def _chart(panel: Panel, series: str) -> _Object:
    layer = {
        "layerId": _LAYER,
        "layerType": "data",
        "seriesType": series,
        "xAccessor": "time",
        "accessors": [f"metric{nth}" for nth in range(len(panel.metrics))],
        **({"splitAccessor": "by0"} if panel.by else {}),
    }
    return {
        "legend": {"isVisible": True, "position": "right"},
        "valueLabels": "hide",
        "fittingFunction": "None",
        "preferredSeriesType": series,
        "layers": [layer],
    }


_LOOKS = {
    "number": ("lnsMetric", _number),
    "table": ("lnsDatatable", _table),
    "bars": ("lnsXY", _bars),
    "line": ("lnsXY", _line),
}
