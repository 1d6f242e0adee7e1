"""Bars over time as numbers that a template draws: SVG, without script, each bar a link. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH, HEIGHT = 960, 120
MOST_COLUMNS = 120
"""More stretches than this are put together, several to a column."""


@dataclass(frozen=True)
class Piece:
    """One colour of a column."""

    tone: str
    y: float
    height: float


@dataclass(frozen=True)
class Column:
    """One stretch of time."""

    start: datetime
    end: datetime
    total: int
    parts: tuple[tuple[str, int], ...]
    x: float
    width: float
    pieces: tuple[Piece, ...]
    href: str


@dataclass(frozen=True)
class Chart:
    """Columns in order of time: of a whole period, or from the first that has anything to the last."""

    columns: tuple[Column, ...]
    most: int
    seconds: int
    """Length of a column."""


Bars = Sequence[tuple[datetime, Mapping[str, int]]]
"""Starts of stretches, and how often each value occurred in them."""


@dataclass(frozen=True)
class Look:
    """How values are shown: their colour (`plain` where none is given), their name, and where a column leads."""

    tones: Mapping[str, str]
    name: Callable[[str], str]
    link: Callable[[datetime, datetime], str]


def chart(bars: Bars, seconds: int, look: Look, period: tuple[datetime, datetime] | None = None) -> Chart:
    """Return a chart of bars of `seconds`; `period`: the starts of its first and last bar, where several must agree."""
    if not bars:
        return Chart((), 0, seconds)
    first, last = bars[0][0], bars[-1][0]
    if period:
        first, last = min(first, period[0]), max(last, period[1])
    stretches = int((last - first) / timedelta(seconds=seconds)) + 1
    together = -(-stretches // MOST_COLUMNS)
    step = timedelta(seconds=seconds * together)
    columns: dict[int, dict[str, int]] = {number: {} for number in range(-(-stretches // together))}
    for start, counts in bars:
        column = columns[int((start - first) / step)]
        for value, count in counts.items():
            column[value] = column.get(value, 0) + count
    most = max(sum(counts.values()) for counts in columns.values())
    width = WIDTH / max(len(columns), 12)
    made = tuple(
        _column(first + number * step, step, counts, (number * width, width), most, look)
        for number, counts in columns.items()
    )
    return Chart(made, most, seconds * together)


def _column(
    start: datetime,
    step: timedelta,
    counts: Mapping[str, int],
    place: tuple[float, float],
    most: int,
    look: Look,
) -> Column:
    by_tone: dict[str, int] = {}
    for value, count in counts.items():
        tone = look.tones.get(value, "plain")
        by_tone[tone] = by_tone.get(tone, 0) + count
    pieces, y = [], float(HEIGHT)
    for tone, count in sorted(by_tone.items(), key=lambda pair: _ORDER.index(pair[0])):
        height = round(count / max(most, 1) * HEIGHT, 2)
        y -= height
        pieces.append(Piece(tone, round(y, 2), height))
    parts = tuple((look.name(value), count) for value, count in sorted(counts.items(), key=lambda pair: -pair[1]))
    gap = min(2.0, place[1] * 0.15)
    x, width = round(place[0], 2), round(place[1] - gap, 2)
    href = look.link(start, start + step)
    return Column(start, start + step, sum(counts.values()), parts, x, width, tuple(pieces), href)


_ORDER = ("block", "warn", "good", "plain")
VERDICT_TONES = {
    "block": "block", "escalate": "block", "refused": "warn", "flag": "warn", "redact": "warn", "pseudonymise": "warn",
}  # fmt: skip
"""Verdicts that stand out."""
