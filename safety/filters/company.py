"""A company's own words (projects, customers, code names), from the policy's lists."""

import hashlib
from collections.abc import Mapping

import msgspec

from safety.filters.lookup import Lookup
from safety.filters.words import WordFinder
from safety.normalise import NormalisedText
from safety.policy_shape import WordList
from safety.ports import TurnContext
from safety.verdict import Category, Finding

_FINDING = b"2"
"""How words are found. Raised with every change of that, so that a record tells which way looked at its text."""


class CompanyWords(Lookup):
    """A guard over word lists; implements `SwiftGuard`. Without lists it says that it was skipped."""

    name = "filters.company"

    def __init__(self, lists: Mapping[str, WordList]) -> None:
        """Build one automaton for each list; raise `ValueError` for an empty word."""
        self.version = hashlib.sha256(_FINDING + msgspec.json.encode(dict(lists), order="sorted")).hexdigest()[:16]
        self._lists = tuple((f"{Category.COMPANY}.{name}", part) for name, part in lists.items() if part.words)
        self._finders = tuple(WordFinder(part.words, part.allow) for _, part in self._lists)

    def validate(self) -> None:
        """Nothing to check beyond what making it checked."""

    def skips(self, context: TurnContext) -> bool:
        """Whether there are no lists: the same words count in both directions."""
        del context
        return not self._lists

    def look(self, text: NormalisedText, before: str = "") -> tuple[Finding, ...]:
        """Return the findings in one text; pure. Not more of one list than a rule has (`places`)."""
        del before
        found: list[Finding] = []
        for (rule, part), finder in zip(self._lists, self._finders, strict=True):
            spans = [text.original_span(start, end) for start, end in finder.spans(text)]
            for segment in text.segments:
                hit = finder.occur_in(NormalisedText(segment.text, segment.text))
                spans += [(segment.start, segment.end)] if hit else []
            found += [Finding(self.name, rule, Category.COMPANY, *span, 1.0, part.severity) for span in spans]
        return tuple(found)
