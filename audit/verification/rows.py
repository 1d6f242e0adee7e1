"""The columns beside a leaf, against the leaf: what lists and searches filter on must be what the record says."""

from datetime import datetime
from typing import Any

from audit.canonical import column, unescape
from audit.rows import microseconds
from audit.verification.source import Values
from audit.verify import Report

_NAMES = ("entry_id", "kind", "at_us", "subject", "turn_id")


def check_columns(report: Report, row: Values, fields: dict[str, Any], index: int | None) -> None:
    """Compare a row of `audit_entry` with the fields of its leaf."""
    _, entry_id, _, _, kind, at_us, subject, turn_id = row
    expected = columns_of(fields)
    for name, held in zip(_NAMES, (entry_id, kind, at_us, subject, turn_id), strict=True):
        if held != expected[name]:
            where = "" if index is not None else f"waiting record {entry_id!r}: "
            report.add("column", f"{where}its column {name} is not what its leaf says", index)


def columns_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what the columns of `audit_entry` must hold beside a leaf."""
    return {
        "entry_id": fields["entry_id"],
        "kind": fields["kind"],
        "at_us": at_us_of(fields),
        "subject": column(text_of(fields, "subject")),
        "turn_id": column(text_of(fields, "turn_id")),
    }


def at_us_of(fields: dict[str, Any]) -> int | None:
    """Return the time of a leaf in microseconds; None when it is none."""
    try:
        return microseconds(datetime.fromisoformat(fields["at"]))
    except (ValueError, TypeError):
        return None


def text_of(fields: dict[str, Any], name: str) -> str:
    """Return a text of a leaf as it was before it was written; empty when absent."""
    value = fields.get(name, "")
    if not isinstance(value, str):
        return ""
    return unescape(value) if fields.get("escaped") is True else value
