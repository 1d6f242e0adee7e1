"""A company's own words (projects, customers, code names), from the policy's lists."""

import asyncio
import hashlib
import time
from collections.abc import Mapping

import msgspec

from safety.filters.engine import INLINE_CHARACTERS
from safety.filters.words import WordFinder
from safety.normalise import NormalisedText
from safety.policy_shape import WordList
from safety.ports import TurnContext
from safety.verdict import Category, Examination, Finding, StageStatus


class CompanyWords:
    """A guard over word lists; implements `Guard`. Without lists it says that it was skipped."""

    name = "filters.company"

    def __init__(self, lists: Mapping[str, WordList]) -> None:
        """Build one automaton for each list; raise `ValueError` for an empty word."""
        self.version = hashlib.sha256(msgspec.json.encode(dict(lists), order="sorted")).hexdigest()[:16]
        self._lists = tuple((f"{Category.COMPANY}.{name}", part) for name, part in lists.items() if part.words)
        self._finders = tuple(WordFinder(part.words, part.allow) for _, part in self._lists)

    def validate(self) -> None:
        """Nothing to check beyond what making it checked."""

    async def examine(self, text: NormalisedText, context: TurnContext) -> Examination:
        """Look for the words in the text and in everything decoded from it."""
        del context  # the same words in both directions
        if not self._lists:
            return Examination(guard=self.name, version=self.version, status=StageStatus.SKIPPED, characters=0)
        began = time.perf_counter()
        short = len(text.text) <= INLINE_CHARACTERS
        findings = self.look(text) if short else await asyncio.to_thread(self.look, text)
        return Examination(
            guard=self.name,
            version=self.version,
            status=StageStatus.RAN,
            characters=len(text.original),
            findings=findings,
            milliseconds=(time.perf_counter() - began) * 1000,
        )

    def look(self, text: NormalisedText) -> tuple[Finding, ...]:
        """Return the findings in one text; pure."""
        found: list[Finding] = []
        for (rule, part), finder in zip(self._lists, self._finders, strict=True):
            spans = [text.original_span(start, end) for start, end in finder.spans(text)]
            for segment in text.segments:
                hit = next(finder.spans(NormalisedText(segment.text, segment.text)), None)
                spans += [(segment.start, segment.end)] if hit else []
            found += [Finding(self.name, rule, Category.COMPANY, *span, 1.0, part.severity) for span in spans]
        return tuple(found)
