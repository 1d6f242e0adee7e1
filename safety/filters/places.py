"""Where one rule hit one text: each place once, and no more of them than a record can hold."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

MOST_FINDINGS = 500
"""Findings of one rule, or of one list of words, in one text."""


class Places:
    """Spans as they came; past the limit one span grows, so that records stay small and nothing is lost."""

    def __init__(self) -> None:
        self._spans: dict[tuple[int, int], None] = {}
        self._first = self._last = -1

    def add(self, start: int, end: int) -> None:
        """Note a span once."""
        if len(self._spans) < MOST_FINDINGS - 1:
            self._spans[start, end] = None
        elif (start, end) not in self._spans:
            self._first = start if self._first < 0 else min(self._first, start)
            self._last = max(self._last, end)

    def spans(self) -> Iterable[tuple[int, int]]:
        """Give the spans back, at most `MOST_FINDINGS`."""
        return self._spans if self._first < 0 else [*self._spans, (self._first, self._last)]


class Covered:
    """Spans, asked whether they meet others."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        """Take spans in any order; they may overlap."""
        rising = sorted(spans)
        self._starts = [start for start, _ in rising]
        self._ends = list(accumulate((end for _, end in rising), max))

    def meets(self, start: int, end: int) -> bool:
        """Whether the span [start, end) has a character in common with any."""
        at = bisect_left(self._starts, end)
        return at > 0 and self._ends[at - 1] > start
