"""From a leaf to what Elasticsearch holds of it. Pure: the same leaf always gives the same document.

A record becomes one document of metadata, and, where it has texts that can be read, one document of texts; both have
the leaf hash as their id and lie in the index of the record's own month. `event.original` is the evidence; every other
field is a projection of it (of a closing record: also of the record that opened its turn), there to be searched.
Field names follow the Elastic Common Schema; what that has not stands under `attest.`. `audit.elastic.mappings` has
their types.
"""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from audit.canonical import column, entry_of, leaf_hash, text_bytes
from audit.elastic.families import AUDIT, CONTENT
from audit.elastic.fields import column_of, columns_of, filled, flattened, ip_of, only, timestamp, writable
from audit.elastic.meaning import meaning_of
from audit.elastic.turns import turn_of
from audit.record import Entry, FindingRecord, StageRecord
from audit.sinks.ports import Document

ECS_VERSION = "9.1.0"
VOLATILE = ("event.ingested",)
"""Fields that say when a document was delivered; they follow from no leaf."""
_FAILED = ("error", "timed_out")
_REQUEST, _NUMBERS = ("temperature", "top_p", "max_tokens"), frozenset({int, float})
_LARGEST = 2**63 - 1
_NANOSECONDS = 1_000_000


class Record(msgspec.Struct, frozen=True):
    """A record that has its place in the log."""

    index: int
    leaf: bytes
    entry: Entry
    digest: bytes
    """The leaf hash."""

    @classmethod
    def of(cls, index: int, leaf: bytes) -> "Record":
        """Read a leaf. Raises `msgspec.MsgspecError` or `ValueError` for bytes that are none."""
        return cls(index, leaf, entry_of(leaf), leaf_hash(leaf))


class OpenedText(msgspec.Struct, frozen=True):
    """A text of a record, decrypted, with the nonce that its commitment needs."""

    name: str
    role: str
    text: str
    nonce: bytes


def document_id(digest: bytes) -> str:
    """Return the id of a record's documents: its leaf hash as base64url without padding."""
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def metadata_document(record: Record, opening: Entry | None = None) -> Document:
    """Return the document of metadata; `opening` is the record that opened the turn which this one closes."""
    return _metadata(record, _common(record, opening))


def content_document(
    record: Record, texts: Sequence[OpenedText], opening: Entry | None = None, turn_texts: Sequence[str] = ()
) -> Document | None:
    """Return the document of texts, or None where there are none.

    `turn_texts`: for a closing record the earlier texts of its turn, so that one query finds the turn by any of them.
    """
    return _content(record, texts, _common(record, opening), turn_texts) if texts or turn_texts else None


def both_documents(
    record: Record, texts: Sequence[OpenedText], opening: Entry | None = None, turn_texts: Sequence[str] = ()
) -> tuple[Document, ...]:
    """Return the document of metadata and, where there are texts, that of texts: what both have is made once."""
    common = _common(record, opening)
    metadata = _metadata(record, common)
    return (metadata, _content(record, texts, common, turn_texts)) if texts or turn_texts else (metadata,)


def leaf_in(source: dict[str, Any]) -> bytes:
    """Return the exact leaf that a document of metadata holds. Raises `ValueError` when it holds none."""
    try:
        return base64.b64decode(source["event"]["original"], validate=True)
    except (KeyError, TypeError) as error:
        raise ValueError("the document holds no leaf") from error


def without_volatile(source: dict[str, Any]) -> dict[str, Any]:
    """Return a document's fields without those that follow from no leaf: what a projection is compared with."""
    event = source.get("event")
    if not isinstance(event, dict):
        return source
    return {**source, "event": {name: value for name, value in event.items() if f"event.{name}" not in VOLATILE}}


def _metadata(record: Record, common: dict[str, Any]) -> Document:
    entry = record.entry
    event = {
        **common["event"],
        "original": base64.b64encode(record.leaf).decode(),
        **filled(
            reason=column_of(entry.reason),
            duration=min(entry.duration_ms * _NANOSECONDS, _LARGEST) if entry.duration_ms > 0 else 0,
        ),
    }
    ip = ip_of(entry.source_ip)
    source = {
        **common,
        "event": event,
        "service": {"name": "attest"},
        **filled(
            source=filled(address=column_of(entry.source_ip), ip=ip) if entry.source_ip else None,
            user_agent=only("original", entry.user_agent),
            trace=only("id", entry.trace_id),
            rule=_rules(entry),
            related=_related(entry, ip),
            gen_ai=_gen_ai(entry),
        ),
        "attest": {**common["attest"], **_own_fields(entry)},
    }
    return Document(AUDIT.index(entry.at), document_id(record.digest), source)


def _content(
    record: Record, texts: Sequence[OpenedText], common: dict[str, Any], turn_texts: Sequence[str]
) -> Document:
    written = [writable(one.text) for one in texts]
    searched = dict.fromkeys([*map(writable, turn_texts), *written])
    searched.pop("", None)
    attest = {**common["attest"], **filled(text=list(map(_text, texts, written))), "search": list(searched)}
    source = {**common, "event": {**common["event"]}, "attest": attest}
    return Document(CONTENT.index(record.entry.at), document_id(record.digest), source)


def _common(record: Record, opening: Entry | None) -> dict[str, Any]:
    """Return what both documents of a record have, so that either can be filtered alike."""
    entry, meaning = record.entry, meaning_of(record.entry)
    return {
        "@timestamp": timestamp(entry.at),
        "ecs": {"version": ECS_VERSION},
        "event": {
            "id": entry.entry_id,
            "action": entry.kind.value,
            "kind": meaning.kind,
            "category": list(meaning.category),
            "type": list(meaning.type),
            "outcome": meaning.outcome,
            "dataset": "attest.audit",
            "module": "attest",
            "sequence": record.index,
            "hash": record.digest.hex(),
        },
        "user": {
            "id": column(entry.subject),
            **filled(
                name=column_of(entry.name),
                roles=columns_of(entry.roles),
                group={"name": groups} if (groups := columns_of(entry.groups)) else None,
            ),
        },
        "attest": filled(conversation=only("id", entry.conversation_id), turn=turn_of(entry, opening)),
    }


def _own_fields(entry: Entry) -> dict[str, Any]:
    return filled(
        surface=column_of(entry.surface),
        verdict=column_of(entry.verdict),
        category=columns_of(entry.categories),
        policy=only("hash", entry.policy_hash),
        classifier=only("hash", entry.classifier_hash),
        normaliser=only("version", entry.normaliser_version),
        model=only("revision", entry.model_revision),
        answer=filled(
            offset=entry.offset,
            length=entry.length,
            duration_ms=entry.duration_ms,
            first_release_ms=entry.first_release_ms,
        ),
        stage=[_stage(one) for one in entry.stages],
        guard=_failed_guards(entry.stages),
        finding=[_finding(one) for one in entry.findings],
        parameter=flattened(entry.parameters),
        detail=flattened(entry.detail),
        context={"texts": len(entry.context)} if entry.context else None,
        commitment=[
            {
                "name": column(one.name),
                "role": column(one.role),
                "characters": one.characters,
                "hash": column(one.commitment),
            }
            for one in entry.commitments
        ],
    )


def _failed_guards(stages: Sequence[StageRecord]) -> dict[str, Any]:
    failed = [one for one in stages if one.status in _FAILED]
    return {
        status: names for status in _FAILED if (names := columns_of([x.stage for x in failed if x.status == status]))
    }


def _stage(stage: StageRecord) -> dict[str, Any]:
    return {
        "name": column(stage.stage),
        "status": column(stage.status),
        "characters": stage.characters,
        "milliseconds": stage.milliseconds,
        **only("version", stage.version),
        **only("error", stage.error),
    }


def _finding(finding: FindingRecord) -> dict[str, Any]:
    return {
        "guard": column(finding.guard),
        "rule": column(finding.rule),
        "category": column(finding.category),
        "start": finding.start,
        "end": finding.end,
        "score": finding.score,
        "threshold": finding.threshold,
        "band": column(finding.band),
        "action": column(finding.action),
        "shadow": finding.shadow,
        **only("where", finding.where),
    }


def _rules(entry: Entry) -> dict[str, Any]:
    """Return ECS's `rule.*`: the rules of findings that changed what was done, not of those that were only seen."""
    acted = [one for one in entry.findings if not one.shadow and one.action not in {"", "allow"}]
    if not acted:
        return {}
    return {
        "id": columns_of([one.rule for one in acted]),
        "category": columns_of([one.category for one in acted]),
        "ruleset": columns_of([one.guard for one in acted]),
        **only("version", entry.policy_hash),
    }


def _gen_ai(entry: Entry) -> dict[str, Any]:
    asked = entry.parameters
    request = {name: asked[name] for name in _REQUEST if type(asked.get(name)) in _NUMBERS} if asked else {}
    return filled(
        request={**only("model", entry.model), **request},
        response=filled(finish_reasons=columns_of((entry.finish_reason,))),
        usage=filled(input_tokens=entry.prompt_tokens, output_tokens=entry.completion_tokens),
    )


def _related(entry: Entry, ip: str) -> dict[str, Any]:
    held = entry.detail.get("held_subject", "")
    return filled(user=columns_of((entry.subject, entry.name, str(held))), ip=columns_of((ip,)))


def _text(opened: OpenedText, written: str) -> dict[str, Any]:
    """Return one text with what proves it; a text that JSON cannot hold also as its exact bytes."""
    fields = {
        "name": column(opened.name),
        "role": column(opened.role),
        "body": written,
        "nonce": base64.b64encode(opened.nonce).decode(),
    }
    if written is not opened.text:
        fields["exact"] = base64.b64encode(text_bytes(opened.text)).decode()
    return fields
