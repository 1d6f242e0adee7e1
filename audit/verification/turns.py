"""The table that lists of turns are made from, against the records that it is a projection of."""

from collections.abc import Sequence
from typing import Any

from audit.canonical import column
from audit.record import CLOSING_KINDS, Kind
from audit.verification.facets import Facets
from audit.verification.rows import at_us_of, text_of, turn_of
from audit.verification.source import Source, Values
from audit.verify import Report

_CLOSING = frozenset(kind.value for kind in CLOSING_KINDS)


class Turns:
    """Checks that a turn is found by what its records say."""

    def __init__(self, report: Report, source: Source) -> None:
        self._report = report
        self._source = source
        self._facets = Facets(report, source)

    async def check(self, records: Sequence[tuple[int, dict[str, Any]]], *, pruned: bool) -> None:
        """Check the turns that these records (index, fields) open or close.

        `pruned`: earlier records are gone, and with them the entries of turns that they opened.
        """
        told = [(index, turn_of(fields), fields) for index, fields in records if _tells(fields)]
        rows = {row[0]: row for row in await self._source.turns(sorted({turn for _, turn, _ in told}))}
        for index, turn, fields in told:
            row = rows.get(turn)
            if row is None and pruned and fields["kind"] != Kind.TURN_ACCEPTED.value:
                continue
            if row is None:
                self._report.add("turn", "its turn is missing in the list of turns", index)
                continue
            if fields["kind"] in _CLOSING and await self._closed_again(row, fields):
                continue
            for name in _differences(row, fields):
                self._report.add("turn", f"the list of turns has another {name} than it says", index)
        if rows:
            await self._facets.check(told, rows)

    async def _closed_again(self, row: Values, fields: dict[str, Any]) -> bool:
        """Whether a later record closed the turn once more; then that one counts."""
        closed = row[6]
        if not isinstance(closed, str) or closed <= fields["entry_id"]:
            return False
        return bool(await self._source.turn_of(closed) == row[0])


def _tells(fields: dict[str, Any]) -> bool:
    kind = fields["kind"]
    return bool(fields.get("turn_id")) and (kind == Kind.TURN_ACCEPTED.value or kind in _CLOSING)


def _differences(row: Values, fields: dict[str, Any]) -> list[str]:
    _, opened_us, subject, conversation, verdict, opened_entry, closed_entry = row
    pairs: list[tuple[str, Any, Any]] = [("subject", subject, column(text_of(fields, "subject")))]
    if fields["kind"] == Kind.TURN_ACCEPTED.value:
        pairs += [
            ("opening record", opened_entry, fields["entry_id"]),
            ("time", opened_us, at_us_of(fields)),
            ("conversation", conversation, column(text_of(fields, "conversation_id"))),
        ]
        if closed_entry is None:
            pairs.append(("verdict", verdict, column(text_of(fields, "verdict"))))
    else:
        pairs.append(("closing record", closed_entry, fields["entry_id"]))
        if fields.get("verdict"):
            pairs.append(("verdict", verdict, column(text_of(fields, "verdict"))))
    return [name for name, held, said in pairs if held != said]
