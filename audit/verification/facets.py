"""What turns are searched by (group, role, model, category, rule), against the records of the turn."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, cast

from audit.canonical import column, unescape
from audit.record import CLOSING_KINDS
from audit.verification.brief import Brief, Read
from audit.verification.drivers import Values
from audit.verification.source import Source
from audit.verify import Report, read_leaf

_CLOSING = frozenset(kind.value for kind in CLOSING_KINDS)
OPENING = frozenset({"turn.accepted", "turn.refused"})

_MOST_KNOWN = 4096
_LONGEST_KNOWN = 2**13
"""Bytes of the two leaves whose facets are remembered."""

Facet = tuple[str, str]
"""Name and value, as the columns hold them."""


class Facets:
    """Checks that a turn is found by all that its records say, and by nothing else."""

    def __init__(self, report: Report, source: Source) -> None:
        self._report = report
        self._source = source
        self._known: dict[tuple[Any, ...], tuple[Facet, ...]] = {}

    async def doubtful(self, turns: Mapping[str, tuple[Read, Read]]) -> set[str]:
        """Return the turns, by their opening and closing records, that are not found by exactly what these say."""
        if not turns:
            return set()
        said = [
            (turn, facet, value, opened.at_us)
            for turn, (opened, closed) in sorted(turns.items(), key=itemgetter(0))
            for facet, value in self._said(opened, closed)
        ]
        stored = await self._source.facets_at_once(list(turns), len(said))
        return set() if said == stored else {one[0] for one in set(said) ^ set(stored)}

    def _said(self, opened: Read, closed: Read) -> tuple[Facet, ...]:
        """Return what two records say, in order; most turns say the same as another one did."""
        one, other = cast("Brief", opened.brief), cast("Brief", closed.brief)
        says = (one.groups, one.roles, one.model, one.categories, one.findings, other.categories, other.findings)
        if (known := self._known.get(says)) is not None:
            return known
        flags = (*one.findings, *other.findings)
        pairs = [
            *(("group", group) for group in one.groups),
            *(("role", role) for role in one.roles),
            ("model", one.model),
            *(("category", category) for category in (*one.categories, *other.categories)),
            *(pair for flag in flags for pair in (("category", flag.category), ("rule", flag.rule))),
        ]
        found = tuple(sorted({(facet, column(value)) for facet, value in pairs if value}))
        if len(opened.leaf) + len(closed.leaf) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[says] = found
        return found

    async def check(self, told: Sequence[tuple[int, str, dict[str, Any]]], turns: dict[str, Values]) -> None:
        """Check records that open or close turns: (index, turn, fields), and the rows of these turns."""
        stored: dict[str, set[Facet]] = {}
        elsewhen: dict[str, set[str]] = {}
        for turn, facet, value, opened_us in await self._source.facets(sorted(turns)):
            if opened_us == turns[turn][1]:
                stored.setdefault(turn, set()).add((facet, value))
            else:
                elsewhen.setdefault(turn, set()).add(facet)
        said: dict[str, set[Facet]] = {}
        for index, turn, fields in told:
            if turn not in turns:
                continue
            expected = set(facets_of(fields))
            said.setdefault(turn, set()).update(expected)
            for facet in sorted(elsewhen.get(turn, ())) if fields["kind"] in OPENING else ():
                self._report.add("turn", f"its turn is found by a {facet} at another time than its own", index)
            for facet in sorted({facet for facet, _ in expected - stored.get(turn, set())}):
                self._report.add("turn", f"its turn is not found by its {facet}", index)
        for turn, facets in stored.items():
            if facets - said.get(turn, set()):
                await self._check_surplus(turn, facets, [index for index, one, _ in told if one == turn][-1])

    async def _check_surplus(self, turn: str, facets: set[Facet], index: int) -> None:
        """Report what no record of the turn says, wherever in the log that stands."""
        said: set[Facet] = set()
        for leaf in await self._source.leaves_of(turn):
            try:
                said |= set(facets_of(read_leaf(leaf)))
            except (ValueError, TypeError, AttributeError):
                return  # altered: reported where it stands
        for facet in sorted({facet for facet, _ in facets - said}):
            self._report.add("turn", f"its turn is found by a {facet} that none of its records says", index)


def facets_of(fields: dict[str, Any]) -> Iterator[Facet]:
    """Yield what a turn is searched by because of a record: nothing for records that neither open nor close one."""
    kind = fields.get("kind")
    if kind not in OPENING and kind not in _CLOSING:
        return
    findings = [one for one in _list(fields, "findings") if isinstance(one, dict)]
    values: dict[str, Iterable[Any]] = {
        "category": [*_list(fields, "categories"), *(one.get("category") for one in findings)],
        "rule": [one.get("rule") for one in findings],
    }
    if kind in OPENING:
        values |= {"group": _list(fields, "groups"), "role": _list(fields, "roles"), "model": [fields.get("model")]}
    for name, several in values.items():
        for value in several:
            if isinstance(value, str) and value:
                yield name, column(unescape(value) if fields.get("escaped") is True else value)


def _list(fields: dict[str, Any], name: str) -> list[Any]:
    found = fields.get(name)
    return found if isinstance(found, list) else []
