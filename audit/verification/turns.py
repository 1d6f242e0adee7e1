"""The table that lists of turns are made from, against the records that it is a projection of."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from audit.canonical import column
from audit.record import CLOSING_KINDS
from audit.verification.brief import OPENS, Brief, Read
from audit.verification.drivers import Values
from audit.verification.facets import OPENING, Facets
from audit.verification.rows import at_us_of, text_of, turn_of
from audit.verification.source import Source
from audit.verify import Report, read_leaf

_CLOSING = frozenset(kind.value for kind in CLOSING_KINDS)


class Turns:
    """Checks that a turn is found by what its records say."""

    def __init__(self, report: Report, source: Source) -> None:
        self._report = report
        self._source = source
        self._facets = Facets(report, source)

    async def check(self, records: Sequence[Read], *, pruned: bool) -> None:
        """Check the turns that these records open or close.

        `pruned`: earlier records are gone, and with them the entries of turns that they opened.
        """
        doubtful = await self._doubtful(records)
        if not doubtful:
            return
        told = []
        for read in records:
            if read.brief is not None and read.brief.turn_id not in doubtful:
                continue
            fields = read.whole()
            if _tells(fields) and (turn := turn_of(fields)) in doubtful:
                told.append((read.place, turn, fields))
        await self._check_told(told, pruned=pruned)

    async def _doubtful(self, records: Sequence[Read]) -> set[str]:
        """Return the turns that are not in every respect what their two records, both among these, say.

        The others hold, and that was seen for all of them at once: a turn's row is the one that its records make, and
        what it is found by, too. Of a turn that is doubtful nothing is wrong yet: its other record may be elsewhere.
        """
        opened: dict[str, Read] = {}
        closed: dict[str, Read] = {}
        doubtful: set[str] = set()
        for read in records:
            if (brief := read.brief) is None:
                fields = read.whole()
                if _tells(fields):
                    doubtful.add(turn_of(fields))
            elif brief.turn_id and (brief.kind == OPENS or brief.kind in _CLOSING):
                side = opened if brief.kind == OPENS else closed
                if side.setdefault(brief.turn_id, read) is not read:
                    doubtful.add(brief.turn_id)
        doubtful |= opened.keys() ^ closed.keys()
        pairs = {turn: (read, closed[turn]) for turn, read in opened.items() if turn not in doubtful}
        rows = {row[0]: row for row in await self._source.turns_at_once(list(pairs))}
        wrong = {turn for turn, (one, other) in pairs.items() if not _is_row_of(rows.get(turn), one, other)}
        sound = {turn: pair for turn, pair in pairs.items() if turn not in wrong} if wrong else pairs
        return doubtful | wrong | await self._facets.doubtful(sound)

    async def _check_told(self, told: Sequence[tuple[int, str, dict[str, Any]]], *, pruned: bool) -> None:
        """Check record by record, and name what is wrong."""
        rows = {row[0]: row for row in await self._source.turns(sorted({turn for _, turn, _ in told}))}
        for index, turn, fields in told:
            row = rows.get(turn)
            if row is None and pruned and fields["kind"] != OPENS:
                continue
            if row is None:
                self._report.add("turn", "its turn is missing in the list of turns", index)
                continue
            if fields["kind"] in _CLOSING and await self._closed_again(row, fields):
                continue
            differences = _differences(row, fields, opens=await self._opens(row, fields))
            if fields["kind"] == OPENS and not await self._is_closed_by_its_own(row):
                differences.append("closing record")
            if fields["kind"] in _CLOSING and not fields.get("verdict") and row[4] != await self._first_verdict(turn):
                differences.append("verdict")
            for name in differences:
                self._report.add("turn", f"the list of turns has another {name} than it says", index)
        if rows:
            await self._facets.check(told, rows)

    async def check_strangers(self) -> None:
        """Name turns that no record opened, and what is searched by that belongs to no turn: lists would show them."""
        for turn, _ in await self._source.unopened_turns():
            self._report.add("turn", f"the list of turns has {str(turn)[:64]!r}, which no record opened")
        for (turn,) in await self._source.facets_of_no_turn():
            self._report.add("turn", f"something is found as turn {str(turn)[:64]!r}, of which there is none")

    async def _opens(self, row: Values, fields: dict[str, Any]) -> bool:
        """Whether a record must be the one that the list has as the turn's beginning.

        A refusal need not where the turn had been accepted: its record was committed, but the answer of the database
        was lost, so that the gateway refused the turn.
        """
        if fields["kind"] == OPENS or row[5] == fields["entry_id"]:
            return True
        return fields["kind"] in OPENING and await self._source.turn_and_kind(str(row[5])) != (row[0], OPENS)

    async def _is_closed_by_its_own(self, row: Values) -> bool:
        """Whether what the list names as a turn's closing record, if anything, is one of that turn."""
        closed = row[6]
        if closed is None:
            return True
        turn, kind = await self._source.turn_and_kind(str(closed))
        return turn == row[0] and kind in _CLOSING

    async def _first_verdict(self, turn: str) -> str | None:
        """Return the verdict with which a turn was opened: it stays where the closing record has none."""
        for leaf in await self._source.leaves_of(turn):
            with suppress(ValueError, TypeError, AttributeError):  # altered: reported where it stands
                if (fields := read_leaf(leaf))["kind"] == OPENS:
                    return column(text_of(fields, "verdict"))
        return None

    async def _closed_again(self, row: Values, fields: dict[str, Any]) -> bool:
        """Whether another record closed the turn once more; then the list may name that one.

        The one that was written last counts, which neither ids nor places tell for sure: ids have the time of a clock
        that may have been wrong, and places are given in the order of ids within a step.
        """
        closed = row[6]
        if not isinstance(closed, str) or closed == fields["entry_id"]:
            return False
        turn, kind = await self._source.turn_and_kind(closed)
        return bool(turn == row[0] and kind in _CLOSING)


def _is_row_of(row: Values | None, opened: Read, closed: Read) -> bool:
    """Whether a row is the one that these two records make of their turn, told without a doubt."""
    one, other = cast("Brief", opened.brief), cast("Brief", closed.brief)
    return one.subject == other.subject and row == (
        one.turn_id,
        opened.at_us,
        column(one.subject),
        column(one.conversation_id),
        column(other.verdict or one.verdict),
        one.entry_id,
        other.entry_id,
    )


def _tells(fields: dict[str, Any]) -> bool:
    kind = fields["kind"]
    return bool(fields.get("turn_id")) and (kind == OPENS or kind in _CLOSING)


def _differences(row: Values, fields: dict[str, Any], *, opens: bool) -> list[str]:
    """Return in what a turn's row is not what one of its records says; `opens`: the turn began with that record."""
    _, opened_us, subject, conversation, verdict, opened_entry, closed_entry = row
    pairs: list[tuple[str, Any, Any]] = [("subject", subject, column(text_of(fields, "subject")))]
    if opens:
        pairs += [
            ("opening record", opened_entry, fields["entry_id"]),
            ("time", opened_us, at_us_of(fields)),
            ("conversation", conversation, column(text_of(fields, "conversation_id"))),
        ]
        if closed_entry is None:
            pairs.append(("verdict", verdict, column(text_of(fields, "verdict"))))
    if fields["kind"] != OPENS:
        pairs.append(("closing record", closed_entry, fields["entry_id"]))
        if fields.get("verdict"):
            pairs.append(("verdict", verdict, column(text_of(fields, "verdict"))))
    return [name for name, held, said in pairs if held != said]
