"""The columns beside a leaf, against the leaf: what lists and searches filter on must be what the record says."""

from datetime import datetime
from typing import Any

from audit.canonical import column, unescape
from audit.rows import microseconds
from audit.verification.drivers import Values
from audit.verify import Report

_NAMES = ("entry_id", "kind", "at_us", "subject", "turn_id")


def check_columns(report: Report, row: Values, fields: dict[str, Any], index: int | None) -> None:
    """Compare a row of `audit_entry` with the fields of its leaf."""
    _, entry_id, _, _, kind, at_us, subject, turn_id = row
    held, expected = (entry_id, kind, at_us, subject, turn_id), columns_of(fields)
    if held == expected:
        return
    for name, one, said in zip(_NAMES, held, expected, strict=True):
        if one != said:
            where = "" if index is not None else f"waiting record {entry_id!r}: "
            report.add("column", f"{where}its column {name} is not what its leaf says", index)


def columns_of(fields: dict[str, Any]) -> tuple[Any, ...]:
    """Return what the columns of `audit_entry` must hold beside a leaf: entry_id, kind, at_us, subject, turn_id."""
    return (
        fields["entry_id"],
        fields["kind"],
        at_us_of(fields),
        column(text_of(fields, "subject")),
        turn_of(fields),
    )


def turn_of(fields: dict[str, Any]) -> str:
    """Return the turn of a leaf, as columns hold it; empty when it belongs to none."""
    return column(text_of(fields, "turn_id"))


def at_us_of(fields: dict[str, Any]) -> int | None:
    """Return the time of a leaf in microseconds; None when it is none."""
    return us_of(fields["at"])


def us_of(at: str) -> int | None:
    """Return a time as leaves have it in microseconds since 1970; None when it is none."""
    try:
        return microseconds(datetime.fromisoformat(at))
    except (ValueError, TypeError):
        return None


def text_of(fields: dict[str, Any], name: str) -> str:
    """Return a text of a leaf as it was before it was written; empty when absent."""
    value = fields.get(name, "")
    if not isinstance(value, str):
        return ""
    return unescape(value) if fields.get("escaped") is True else value
