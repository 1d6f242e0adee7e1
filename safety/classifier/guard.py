"""The classifier as a guard: per sentence, per message and over the rolling conversation window.

A message is judged as a whole and by its sentences (`tokenise`), decoded segments each by themselves. On the way to
the model it is judged once more behind the conversation's latest texts: harm that was split over turns shows only
there. Such a finding counts when the new text makes the difference, so that a harmless turn passes after anything.
"""

import asyncio
import bisect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safety.classifier.batch import Batcher
from safety.classifier.engine import Engine, Scores, by_category
from safety.classifier.manifest import LABELS, OUTPUTS, SHIPPED, Manifest, load
from safety.classifier.tokenise import Ids, Tokens, Unit
from safety.normalise import NormalisedText
from safety.ports import Direction, TurnContext
from safety.verdict import Category, Examination, Finding, StageStatus

REPORTED = 0.2
"""Lowest score that becomes a finding."""
EARLIER_TEXTS = 3
"""Texts of the conversation that stand before the message in the rolling window."""
WINDOW_TOKENS = 96
"""Most tokens of the rolling window, message included."""
CONTRIBUTION = 0.25
"""How much surer the window must be with the message than without it for its finding to count."""
INLINE = 2000
"""Texts up to so many characters are tokenised in place (0.5 ms); longer ones in a thread."""
MESSAGE_RULE, WINDOW_RULE = "model.message", "model.window"


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A unit to judge and the span of the original that a finding in it names."""

    ids: Ids
    start: int
    end: int


class HarmClassifier:
    """Implements `safety.ports.Guard`."""

    name = "classifier"

    def __init__(self, folder: Path = SHIPPED, *, threads: int = 1, reported: float = REPORTED) -> None:
        """Check and open the model folder; raises `ClassifierError` (a `ValueError`) that says what to mend.

        `reported` is the lowest score that becomes a finding; evaluation sets it to 0 to rank all texts.
        """
        self._reported = reported
        self.manifest: Manifest
        self.manifest, self.version = load(folder)
        # Each batch has one thread, and as many run side by side: two threads in a run wake each other for every
        # operator, which took a sixth of the classifier's time under load and gained a turn alone nothing.
        self._engine = Engine(folder, self.manifest)
        self._batcher = Batcher(self._engine.model, workers=threads)

    def validate(self) -> None:
        """Judge with every reader, so that one that cannot run is found at start and the first turn finds it warm."""
        if not self._engine.sound(["How do I reset my password?", "请问怎么重置密码？"]):
            raise ValueError("The classifier gives no number for an ordinary text; restore the model from the release.")

    async def examine(self, text: NormalisedText, context: TurnContext) -> Examination:
        """Judge one text and its decoded segments."""
        began = time.perf_counter()
        long = len(text.text) + sum(len(segment.text) for segment in text.segments) > INLINE
        cut = asyncio.to_thread(self._stretches, text, context.overlap) if long else None
        stretches, tokens = await cut if cut is not None else self._stretches(text, context.overlap)
        # What ends inside the overlap was judged when it was new.
        stretches = [stretch for stretch in stretches if stretch.end > context.overlap]
        window = self._window(context, tokens)
        sequences = [stretch.ids for stretch in stretches]
        logits = await self._batcher.judge([*sequences, *([window] if window is not None else [])])
        scores = self._engine.calibrator.scores(logits)
        own = scores[: len(stretches)]
        findings = self._own_findings(stretches, own)
        if window is not None:
            findings += await self._window_findings(scores[-1], own, context, len(text.original))
        return Examination(
            guard=self.name,
            version=self.version,
            status=StageStatus.RAN,
            characters=len(text.original),
            findings=tuple(findings),
            milliseconds=(time.perf_counter() - began) * 1000,
        )

    async def close(self) -> None:
        """End the worker thread."""
        await self._batcher.close()

    def _stretches(self, text: NormalisedText, overlap: int) -> tuple[list[_Stretch], Tokens]:
        tokeniser = self._engine.tokeniser
        tokens = tokeniser.encode(text.text)
        first_new = bisect.bisect_left(tokens.offsets, overlap, key=lambda at: text.original_span(*at)[0])
        units = tokeniser.units_after(tokens, first_new) if overlap else tokeniser.units(tokens)
        stretches = [_placed(unit, text) for unit in units]
        for segment in text.segments:
            units = tokeniser.units(tokeniser.encode(segment.text))
            stretches += [_Stretch(unit.ids, segment.start, segment.end) for unit in units]
        return stretches, tokens

    def _earlier(self, context: TurnContext) -> Ids | None:
        """Tokens of the latest texts of the conversation, read from their ends; None when there are none."""
        if context.direction is not Direction.INPUT:
            return None
        latest = [text[-WINDOW_TOKENS * 8 :] for text in context.window[-EARLIER_TEXTS:]]
        parts = [self._engine.tokeniser.encode(text).ids for text in latest if text.strip()]
        return np.concatenate(parts)[-WINDOW_TOKENS:] if parts else None

    def _window(self, context: TurnContext, tokens: Tokens) -> Ids | None:
        earlier = self._earlier(context)
        if earlier is None or not len(earlier) or not len(tokens.ids):
            return None
        return self._engine.tokeniser.joined(earlier, tokens, WINDOW_TOKENS)

    def _own_findings(self, stretches: Sequence[_Stretch], scores: Scores) -> list[Finding]:
        """One finding a category: where it is surest."""
        best: dict[Category, Finding] = {}
        for stretch, row in zip(stretches, scores, strict=True):
            for found in by_category(row, self._reported):
                if found.category not in best or best[found.category].score < found.score:
                    best[found.category] = Finding(
                        self.name, MESSAGE_RULE, found.category, stretch.start, stretch.end, round(found.score, 4)
                    )
        return list(best.values())

    async def _window_findings(
        self, joint: list[float], own: Scores, context: TurnContext, length: int
    ) -> list[Finding]:
        """Find what the rolling window shows and neither the message nor the earlier texts show alone."""
        found = by_category(joint, self._reported)
        if not found or (earlier := self._earlier(context)) is None:
            return []
        without = await self._either(self._engine.tokeniser.framed(earlier))
        alone = [max(column) for column in zip(*own, strict=True)] if own else [0.0] * len(OUTPUTS)
        findings = []
        for item in found:
            at = LABELS.index(item.category)
            before = max(without[at], without[-1])
            here = max(alone[at], alone[-1])
            if item.score - before >= CONTRIBUTION and item.score > here:
                findings.append(Finding(self.name, WINDOW_RULE, item.category, 0, length, round(item.score, 4)))
        return findings

    async def _either(self, sequence: Ids) -> list[float]:
        """Scores of one sequence, by the first reader or by all together: whichever is surer.

        What any reader saw in the earlier texts, the message after them did not bring.
        """
        together, first = await asyncio.gather(
            self._batcher.judge([sequence]), asyncio.to_thread(self._engine.first.run, [sequence])
        )
        return self._engine.calibrator.scores(np.maximum(together, first))[0]


def _placed(unit: Unit, text: NormalisedText) -> _Stretch:
    start, end = text.original_span(unit.start, unit.end)
    return _Stretch(unit.ids, start, end)
