"""What all filters have in common: one pure look through a text, in place when it is short, else in a thread."""

import asyncio
import time
from abc import ABC, abstractmethod

from safety.normalise import NormalisedText
from safety.ports import TurnContext
from safety.verdict import Examination, Finding, StageStatus

INLINE_CHARACTERS = 2_000
"""Texts up to this length are looked through on the event loop: a thread would cost more than the work."""


class Lookup(ABC):
    """A guard that needs only the text; implements `SwiftGuard`."""

    name: str
    version: str

    @abstractmethod
    def look(self, text: NormalisedText, before: str = "") -> tuple[Finding, ...]:
        """Return the findings in one text, in the order of their places, knowing what stood before it; pure."""

    def skips(self, context: TurnContext) -> bool:
        """Whether this guard has nothing to do for such a text."""
        del context
        return False

    def examine_now(self, text: NormalisedText, context: TurnContext) -> Examination | None:
        """Examine a short text in place; None for a long one."""
        began = time.perf_counter()
        if self.skips(context):
            return Examination(guard=self.name, version=self.version, status=StageStatus.SKIPPED, characters=0)
        if len(text.text) + sum(len(segment.text) for segment in text.segments) > INLINE_CHARACTERS:
            return None
        return self._ran(text, self.look(text, context.before), began)

    async def examine(self, text: NormalisedText, context: TurnContext) -> Examination:
        """Look through the text and everything decoded from it."""
        if (done := self.examine_now(text, context)) is not None:
            return done
        began = time.perf_counter()
        return self._ran(text, await asyncio.to_thread(self.look, text, context.before), began)

    def _ran(self, text: NormalisedText, findings: tuple[Finding, ...], began: float) -> Examination:
        return Examination(
            guard=self.name,
            version=self.version,
            status=StageStatus.RAN,
            characters=len(text.original),
            findings=findings,
            milliseconds=(time.perf_counter() - began) * 1000,
        )
