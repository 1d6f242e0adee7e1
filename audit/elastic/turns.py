"""What a document says of the turn as a whole, so that turns are found by one query without joining records. Pure.

The record that opens a turn says what was known then; the record that closes it says all of it. A turn that both stand
for is the closing one's: a search that meets the opening document of a closed turn leaves it out.
"""

from collections.abc import Iterable
from typing import Any

from audit.canonical import column
from audit.elastic.fields import timestamp
from audit.facets import OPENING_KINDS, facets_of
from audit.record import CLOSING_KINDS, Entry, FindingRecord

OPENED, CLOSED = "opened", "closed"
_STOPPING = frozenset({"block", "escalate"})


def turn_of(entry: Entry, opening: Entry | None) -> dict[str, Any]:
    """Return `attest.turn` of a record; only an id where the record neither opens nor closes the turn."""
    if not entry.turn_id:
        return {}
    fields: dict[str, Any] = {"id": column(entry.turn_id)}
    closes = entry.kind in CLOSING_KINDS
    if not closes and entry.kind not in OPENING_KINDS:
        return fields
    records = (opening, entry) if opening is not None and opening.entry_id != entry.entry_id else (entry,)
    first = records[0]
    fields |= {
        "state": CLOSED if closes else OPENED,
        "opened": timestamp(first.at),
        "subject": column(first.subject),
    }
    texts = {
        "verdict": entry.verdict or first.verdict,
        "reason": entry.reason,
        "closing_kind": entry.kind.value if closes else "",
        "conversation": first.conversation_id,
        "name": first.name,
        "surface": first.surface,
    }
    fields |= {name: column(value) for name, value in texts.items() if value}
    return fields | _facets(records) | _stopped_by(one for record in records for one in record.findings)


def _facets(records: Iterable[Entry]) -> dict[str, list[str]]:
    """Return the same facets as the SQL log keeps for the turn: group, category, rule, model, role."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for facet, value in facets_of(record):
            found.setdefault(facet, {})[value] = None
    return {facet: list(values) for facet, values in found.items()}


def _stopped_by(findings: Iterable[FindingRecord]) -> dict[str, list[str]]:
    """Return categories and rules of the enforced findings that stop a text."""
    stopping = [one for one in findings if not one.shadow and one.action in _STOPPING]
    if not stopping:
        return {}
    return {
        "stopped_category": list(dict.fromkeys(column(one.category) for one in stopping)),
        "stopped_rule": list(dict.fromkeys(column(one.rule) for one in stopping)),
    }
