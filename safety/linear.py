"""RE2 with types, on UTF-8 bytes: matching in time linear in the text, whatever the pattern.

The binding ships no types and its Python layer costs as much as a match, so spans are read from its inner object.
"""

from collections.abc import Iterator

import re2  # type: ignore[import-untyped]  # google-re2 ships no stubs

_MEMORY = 16 * 2**20
"""Bytes for a set's automaton: RE2 builds it as it goes and starts over when this is used up."""


class Pattern:
    """One compiled pattern."""

    def __init__(self, pattern: str) -> None:
        """Compile; raise `ValueError` for what RE2 does not know (look-around, back-references)."""
        try:
            self._pattern = re2.compile(pattern.encode(), _options())
        except re2.error as error:
            raise ValueError(f"not a pattern that RE2 knows: {error}") from None
        self._match = self._pattern._regexp.Match  # noqa: SLF001 - see the module's docstring
        self._anywhere = re2._Anchor.UNANCHORED  # noqa: SLF001 - the same
        self.groups: int = self._pattern.groups

    def found_in(self, raw: bytes) -> bool:
        """Whether the pattern occurs at all."""
        return bool(self._match(self._anywhere, raw, 0, len(raw))[0][0] >= 0)

    def spans(self, raw: bytes, group: int = 0) -> Iterator[tuple[int, int]]:
        """Yield byte spans of `group`, leftmost first, not overlapping.

        The search goes on after the group, not after the whole match, so that one character may end one match and
        begin the next.
        """
        at, size = 0, len(raw)
        while at <= size:
            found = self._match(self._anywhere, raw, at, size)
            start, end = found[group]
            if start < 0:
                if found[0][0] < 0:
                    return
                at = max(found[0][1], at + 1)
                continue
            yield start, end
            at = end if end > at else at + 1


class PatternSet:
    """Many patterns in one automaton: tells in one pass which of them occur."""

    def __init__(self, patterns: list[str]) -> None:
        """Compile; raise `ValueError` for a pattern that RE2 does not know."""
        self._set = re2.Set.SearchSet(_options())
        for pattern in patterns:
            try:
                self._set.Add(pattern.encode())
            except re2.error as error:
                raise ValueError(f"not a pattern that RE2 knows: {error}") from None
        self._empty = not patterns
        if patterns:
            self._set.Compile()

    def found_in(self, raw: bytes) -> list[int]:
        """Return the indexes of the patterns that occur, ascending."""
        return [] if self._empty else sorted(self._set.Match(raw) or ())


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return options
