"""From a leaf to what Elasticsearch holds of it. Pure: the same leaf always gives the same document.

A record becomes one document of metadata, and, where it has texts that can be read, one document of texts; both have
the leaf hash as their id and lie in the index of the record's own month. `event.original` is the evidence; every other
field is a projection of it (of a closing record: also of the record that opened its turn), there to be searched.
Field names follow the Elastic Common Schema; what that has not stands under `attest.`. `audit.elastic.mappings` has
their types.
"""

import base64
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from audit.canonical import column, entry_of, leaf_hash, text_bytes
from audit.elastic.families import AUDIT, CONTENT
from audit.elastic.meaning import meaning_of
from audit.elastic.turns import turn_of
from audit.record import Entry, FindingRecord, StageRecord
from audit.sinks.ports import Document

ECS_VERSION = "9.1.0"
VOLATILE = ("event.ingested",)
"""Fields that say when a document was delivered; they follow from no leaf."""
_LARGEST = 2**63 - 1
_NANOSECONDS = 1_000_000


class Record(msgspec.Struct, frozen=True):
    """A record that has its place in the log."""

    index: int
    leaf: bytes
    entry: Entry

    @classmethod
    def of(cls, index: int, leaf: bytes) -> "Record":
        """Read a leaf. Raises `msgspec.MsgspecError` or `ValueError` for bytes that are none."""
        return cls(index, leaf, entry_of(leaf))


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
        **_filled(
            reason=_column(entry.reason),
            duration=min(entry.duration_ms * _NANOSECONDS, _LARGEST) if entry.duration_ms > 0 else 0,
        ),
    }
    ip = _ip(entry.source_ip)
    source = {
        **common,
        "event": event,
        "service": {"name": "attest"},
        **_filled(
            source=_filled(address=_column(entry.source_ip), ip=ip),
            user_agent=_filled(original=_column(entry.user_agent)),
            trace=_filled(id=_column(entry.trace_id)),
            rule=_rules(entry),
            related=_related(entry, ip),
            gen_ai=_gen_ai(entry),
        ),
        "attest": {**common["attest"], **_own_fields(entry)},
    }
    return Document(AUDIT.index(entry.at), _id_of(common), source)


def _content(
    record: Record, texts: Sequence[OpenedText], common: dict[str, Any], turn_texts: Sequence[str]
) -> Document:
    searched = dict.fromkeys(_writable(text) for text in (*turn_texts, *(one.text for one in texts)) if text)
    attest = {**common["attest"], **_filled(text=[_text(one) for one in texts]), "search": list(searched)}
    source = {**common, "event": {**common["event"]}, "attest": attest}
    return Document(CONTENT.index(record.entry.at), _id_of(common), source)


def _id_of(common: dict[str, Any]) -> str:
    return document_id(bytes.fromhex(common["event"]["hash"]))


def _common(record: Record, opening: Entry | None) -> dict[str, Any]:
    """Return what both documents of a record have, so that either can be filtered alike."""
    entry, meaning = record.entry, meaning_of(record.entry)
    conversation = _filled(id=_column(entry.conversation_id))
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
            "hash": leaf_hash(record.leaf).hex(),
        },
        "user": {
            "id": column(entry.subject),
            **_filled(
                name=_column(entry.name),
                roles=_columns(entry.roles),
                group=_filled(name=_columns(entry.groups)),
            ),
        },
        "attest": _filled(conversation=conversation, turn=turn_of(entry, opening)),
    }


def timestamp(at: datetime) -> str:
    """Return a time as documents hold it: RFC 3339 in UTC, microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _own_fields(entry: Entry) -> dict[str, Any]:
    return _filled(
        surface=_column(entry.surface),
        verdict=_column(entry.verdict),
        category=_columns(entry.categories),
        policy=_filled(hash=_column(entry.policy_hash)),
        classifier=_filled(hash=_column(entry.classifier_hash)),
        normaliser=_filled(version=_column(entry.normaliser_version)),
        model=_filled(revision=_column(entry.model_revision)),
        answer=_filled(
            offset=entry.offset,
            length=entry.length,
            duration_ms=entry.duration_ms,
            first_release_ms=entry.first_release_ms,
        ),
        stage=[_stage(one) for one in entry.stages],
        guard=_filled(
            error=_columns(one.stage for one in entry.stages if one.status == "error"),
            timed_out=_columns(one.stage for one in entry.stages if one.status == "timed_out"),
        ),
        finding=[_finding(one) for one in entry.findings],
        parameter=_flat(entry.parameters),
        detail=_flat(entry.detail),
        context=_filled(texts=len(entry.context)),
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


def _stage(stage: StageRecord) -> dict[str, Any]:
    return {
        "name": column(stage.stage),
        "status": column(stage.status),
        "characters": stage.characters,
        "milliseconds": stage.milliseconds,
        **_filled(version=_column(stage.version), error=_column(stage.error)),
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
        **_filled(where=_column(finding.where)),
    }


def _rules(entry: Entry) -> dict[str, Any]:
    """Return ECS's `rule.*`: the rules of findings that changed what was done, not of those that were only seen."""
    acted = [one for one in entry.findings if not one.shadow and one.action not in {"", "allow"}]
    if not acted:
        return {}
    return {
        "id": _columns(one.rule for one in acted),
        "category": _columns(one.category for one in acted),
        "ruleset": _columns(one.guard for one in acted),
        **_filled(version=_column(entry.policy_hash)),
    }


def _gen_ai(entry: Entry) -> dict[str, Any]:
    request = {
        name: entry.parameters[name]
        for name in ("temperature", "top_p", "max_tokens")
        if type(entry.parameters.get(name)) in {int, float}
    }
    return _filled(
        request={**_filled(model=_column(entry.model)), **request},
        response=_filled(finish_reasons=_columns((entry.finish_reason,))),
        usage=_filled(input_tokens=entry.prompt_tokens, output_tokens=entry.completion_tokens),
    )


def _ip(address: str) -> str:
    """Return an address that the server's type `ip` takes; nothing where it is none."""
    if not address:
        return ""
    try:
        return str(ipaddress.ip_address(address)) if "%" not in address else ""
    except ValueError:
        return ""


def _related(entry: Entry, ip: str) -> dict[str, Any]:
    held = entry.detail.get("held_subject", "")
    return _filled(user=_columns((entry.subject, entry.name, str(held))), ip=_columns((ip,)))


def _text(opened: OpenedText) -> dict[str, Any]:
    """Return one text with what proves it; a text that JSON cannot hold also as its exact bytes."""
    written = _writable(opened.text)
    fields = {
        "name": column(opened.name),
        "role": column(opened.role),
        "body": written,
        "nonce": base64.b64encode(opened.nonce).decode(),
    }
    if written is not opened.text:
        fields["exact"] = base64.b64encode(text_bytes(opened.text)).decode()
    return fields


def _writable(text: str) -> str:
    """Return a text that UTF-8 can hold: itself, or a copy in which lone surrogates are the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _flat(values: dict[str, str | int | float | bool]) -> dict[str, str]:
    """Return small values as the server's type `flattened` keeps them anyway: as words."""
    return {column(name).replace(".", "_") or "_": column(_word(value)) for name, value in values.items()}


def _word(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _column(value: str) -> str:
    return column(value) if value else ""


def _columns(values: Any) -> list[str]:
    return list(dict.fromkeys(column(value) for value in values if value))


def _filled(**fields: Any) -> dict[str, Any]:
    """Return the fields that say something: empty texts, lists, objects and zeros are left out."""
    return {name: value for name, value in fields.items() if value or value is False}
