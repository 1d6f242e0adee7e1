"""Types of every field and settings of every index: data. `dynamic: strict` refuses whatever is not named here.

Texts are indexed with the analyser `standard`, which every server has: words of alphabetic scripts, single characters
of Chinese, so that a phrase query finds any Chinese string and whole words of others. Everything else is `keyword`
(short values: `audit.canonical.column`), a number, or not indexed at all.
"""

from collections.abc import Mapping
from typing import Any

from audit.elastic.families import AUDIT, CONTENT, DELIVERY

VERSION = 2
"""Raised with every change below; stands in the mapping's `_meta`, so that bootstrap sees an older one."""

_Fields = dict[str, Any]

_KEYWORD: _Fields = {"type": "keyword"}
_LONG: _Fields = {"type": "long"}
_DOUBLE: _Fields = {"type": "double"}
_TIME: _Fields = {"type": "date_nanos"}
_TEXT: _Fields = {"type": "text", "analyzer": "standard"}
_UNINDEXED: _Fields = {"type": "text", "index": False}
"""A text that comes back with the document; `attest.search` of the same document has its words."""
_FLAT: _Fields = {"type": "flattened"}
_KEPT: _Fields = {"type": "keyword", "index": False, "doc_values": False}
"""Comes back with the document; cannot be searched."""


def _object(**fields: _Fields) -> _Fields:
    return {"properties": fields}


def _keywords(*names: str) -> _Fields:
    return {"properties": dict.fromkeys(names, _KEYWORD)}


_TURN = _object(
    **dict.fromkeys(
        (
            *("id", "state", "subject", "verdict", "reason", "closing_kind", "conversation", "name", "surface"),
            *("group", "role", "model", "category", "rule", "stopped_category", "stopped_rule"),
        ),
        _KEYWORD,
    ),
    opened=_TIME,
)

_EVENT = {
    **dict.fromkeys(("id", "kind", "category", "type", "action", "outcome", "dataset", "module", "hash"), _KEYWORD),
    "sequence": _LONG,
    "ingested": _TIME,
}

_USER = _object(id=_KEYWORD, name=_KEYWORD, roles=_KEYWORD, group=_keywords("name"))

_AUDIT: _Fields = {
    "@timestamp": _TIME,
    "ecs": _keywords("version"),
    "event": _object(**_EVENT, reason=_KEYWORD, duration=_LONG, original=_KEPT),
    "user": _USER,
    "service": _keywords("name"),
    "source": _object(address=_KEYWORD, ip={"type": "ip"}),
    "user_agent": _keywords("original"),
    "trace": _keywords("id"),
    "rule": _keywords("id", "category", "ruleset", "version"),
    "related": _object(user=_KEYWORD, ip={"type": "ip"}),
    "gen_ai": _object(
        request=_object(model=_KEYWORD, temperature=_DOUBLE, top_p=_DOUBLE, max_tokens=_LONG),
        response=_keywords("finish_reasons"),
        usage=_object(input_tokens=_LONG, output_tokens=_LONG),
    ),
    "attest": _object(
        turn=_TURN,
        conversation=_keywords("id"),
        surface=_KEYWORD,
        verdict=_KEYWORD,
        category=_KEYWORD,
        policy=_keywords("hash"),
        classifier=_keywords("hash"),
        normaliser=_keywords("version"),
        model=_keywords("revision"),
        answer=_object(offset=_LONG, length=_LONG, duration_ms=_LONG, first_release_ms=_LONG),
        stage=_object(
            **dict.fromkeys(("name", "status", "version", "error"), _KEYWORD), characters=_LONG, milliseconds=_DOUBLE
        ),
        guard=_keywords("error", "timed_out"),
        finding=_object(
            **dict.fromkeys(("guard", "rule", "category", "band", "action", "where"), _KEYWORD),
            start=_LONG,
            end=_LONG,
            score=_DOUBLE,
            threshold=_DOUBLE,
            shadow={"type": "boolean"},
        ),
        parameter=_FLAT,
        detail=_FLAT,
        context=_object(texts=_LONG),
        commitment=_object(name=_KEYWORD, role=_KEYWORD, characters=_LONG, hash=_KEYWORD),
    ),
}

_CONTENT: _Fields = {
    "@timestamp": _TIME,
    "ecs": _keywords("version"),
    "event": _object(**_EVENT),
    "user": _USER,
    "attest": _object(
        turn=_TURN,
        conversation=_keywords("id"),
        text=_object(name=_KEYWORD, role=_KEYWORD, body=_UNINDEXED, nonce=_KEPT, exact=_KEPT),
        search=_TEXT,
    ),
}

_DELIVERY: _Fields = {
    "@timestamp": _TIME,
    "ecs": _keywords("version"),
    "event": _object(**dict.fromkeys(("kind", "category", "type", "action", "dataset", "module"), _KEYWORD)),
    "service": _object(name=_KEYWORD, node=_keywords("name")),
    "attest": _object(
        delivery=_object(
            pending=_LONG, dead_letters=_LONG, lag_seconds=_DOUBLE, delivered=_LONG, retried=_LONG, refused=_LONG
        ),
        dead_letter=_object(id=_KEYWORD, sequence=_LONG, reason=_KEYWORD),
    ),
}

MAPPINGS: Mapping[str, _Fields] = {
    family.name: {"dynamic": "strict", "_meta": {"attest_version": VERSION}, "properties": properties}
    for family, properties in ((AUDIT, _AUDIT), (CONTENT, _CONTENT), (DELIVERY, _DELIVERY))
}
"""Family name → mapping."""

EARLIER: Mapping[str, _Fields] = {CONTENT.name: {"attest.text.body": _TEXT}}
"""Family name → field → how version 1 defined it. A month that was begun then keeps it: no server changes a field."""

SETTINGS: Mapping[str, Any] = {
    "number_of_shards": 1,
    "auto_expand_replicas": "0-1",
    "refresh_interval": "5s",
    "codec": "best_compression",
}
"""Settings of each index. One shard a month holds tens of millions of records."""
