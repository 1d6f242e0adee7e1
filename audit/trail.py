"""A turn whole, put together from its records and texts; pure functions."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from audit.canonical import bytes_text, commitment, entry_of, leaf_hash
from audit.ports import AuditIntegrityError, TurnSummary, TurnTrail
from audit.record import CLOSING_KINDS, Content, Entry, Kind
from audit.rows import NONCE_BYTES

ERASED = ""
"""What stands for a text whose key was destroyed."""


class OpenedRecord(msgspec.Struct, frozen=True):
    """A record and those of its texts that can still be read."""

    entry: Entry
    contents: tuple[Content, ...]


def checked_entry(leaf: bytes, digest: bytes) -> Entry:
    """Return the entry of a leaf. Raises `AuditIntegrityError` when the leaf is not the one that was hashed."""
    if leaf_hash(leaf) != digest:
        raise AuditIntegrityError(f"the leaf with the stored hash {digest.hex()} was altered")
    try:
        return entry_of(leaf)
    except (msgspec.MsgspecError, ValueError):
        raise AuditIntegrityError(f"the leaf with hash {digest.hex()} is not a record") from None


def checked_content(entry: Entry, ordinal: int, opened: bytes) -> Content:
    """Return a text of a record. Raises `AuditIntegrityError` when it is not the one that the leaf commits to."""
    if ordinal >= len(entry.commitments):
        raise AuditIntegrityError(f"record {entry.entry_id} has a text that its leaf does not know")
    promise = entry.commitments[ordinal]
    nonce, data = opened[:NONCE_BYTES], opened[NONCE_BYTES:]
    if commitment(nonce, data) != promise.commitment:
        raise AuditIntegrityError(f"text {ordinal} of record {entry.entry_id} was altered")
    return Content(name=promise.name, role=promise.role, text=bytes_text(data))


def summary_of(opening: Entry, closing: Entry | None) -> TurnSummary:
    """Return what a list says of a turn."""
    last = closing or opening
    return TurnSummary(
        turn_id=opening.turn_id,
        at=opening.at,
        subject=opening.subject,
        verdict=last.verdict or opening.verdict,
        name=opening.name,
        conversation_id=opening.conversation_id,
        reason=last.reason,
        surface=opening.surface,
        model=opening.model,
        closing_kind=closing.kind.value if closing else "",
        categories=tuple(dict.fromkeys(opening.categories + last.categories)),
    )


def trail_of(turn_id: str, records: Sequence[OpenedRecord], texts: Mapping[str, Content]) -> TurnTrail | None:
    """Return the turn whole, or None when no record opens one. `texts` are the dialogue's, by id.

    `records` come in the order of their ids, but the one that opens the turn is put first: an id has the time of its
    making, and after a clock went back the record that closes a turn may have the smaller one.
    """
    records = sorted(records, key=lambda record: record.entry.kind is not Kind.TURN_ACCEPTED)
    turn = [record for record in records if record.entry.kind in _TURN_KINDS]
    if not turn:
        return None
    opening = turn[0]
    closing = next((record for record in reversed(turn) if record.entry.kind in CLOSING_KINDS), None)
    summary = summary_of(opening.entry, closing.entry if closing else None)
    ending = closing or opening
    return TurnTrail(
        turn_id=turn_id,
        at=summary.at,
        subject=summary.subject,
        verdict=summary.verdict,
        dialogue=tuple(texts.get(text_id, _gone()) for text_id in opening.entry.context),
        message=_text(opening.contents, "message"),
        generated=_text(ending.contents, "generated"),
        withheld=_text(ending.contents, "withheld"),
        delivered=_delivered(turn),
        records=tuple(record.entry for record in records),
        reason=summary.reason,
        closing_kind=summary.closing_kind,
        name=summary.name,
        conversation_id=summary.conversation_id,
        surface=summary.surface,
        model=summary.model,
        categories=summary.categories,
        comments=tuple(
            one
            for record in records
            if record.entry.kind not in _TURN_KINDS | {Kind.TURN_MIRRORED}
            for one in record.contents
        ),
        mirrored="".join(_text(record.contents, "mirrored") for record in records),
    )


_TURN_KINDS = CLOSING_KINDS | {Kind.TURN_ACCEPTED, Kind.TURN_RELEASED}


def _gone() -> Content:
    return Content(name="context", role="", text=ERASED)


def _text(contents: Iterable[Content], name: str) -> str:
    return "".join(content.text for content in contents if content.name == name)


def _delivered(turn: Iterable[OpenedRecord]) -> str:
    """Return what the person was shown: the stretches in the order in which they were released."""
    return "".join(_text(record.contents, "delivered") for record in turn)
