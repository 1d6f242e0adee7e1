"""The classifier as a guard: per sentence, per message and over the rolling conversation window.

A message is judged as a whole and by its sentences (`stretches`). On the way to the model it is judged once more
behind the conversation's latest texts: harm that was split over turns shows only there. Such a finding counts when the
new text makes the difference, so that a harmless turn passes after anything.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from safety.classifier.batch import Batcher
from safety.classifier.engine import Engine, Scores, by_category
from safety.classifier.manifest import LABELS, OUTPUTS, SHIPPED, Manifest, load
from safety.classifier.stretches import Stretch, cut
from safety.classifier.tokenise import Ids, Tokens
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
ASKED = 8
"""Windows of a long text of which the sentences are asked, the surest ones. Others count as they are."""
BEARING_DOUBT = 2.0
"""A sentence bears a window out as far as half of its distance to certainty goes."""
UNCERTAIN = 0.5
"""Most that a window counts which no sentence bears out: less than the lowest threshold to block, more than nothing."""
MESSAGE_RULE, WINDOW_RULE = "model.message", "model.window"


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
        how = (text, context.overlap, self._engine.tokeniser, self._engine.wording)
        stretches, tokens = await asyncio.to_thread(cut, *how) if long else cut(*how)
        # What ends inside the overlap was judged when it was new.
        stretches = [stretch for stretch in stretches if stretch.end > context.overlap]
        window = self._window(context, tokens)
        sequences = [stretch.ids for stretch in stretches]
        logits = await self._batcher.judge([*sequences, *([window] if window is not None else [])])
        scores = self._engine.calibrator.scores(logits)
        own = [_doubted(row, stretch.doubt) for stretch, row in zip(stretches, scores, strict=False)]
        own = await self._borne_out(stretches, own)
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

    async def _borne_out(self, stretches: Sequence[Stretch], scores: Scores) -> Scores:
        """Return the scores, those of windows of a long text no surer than the surest sentence in them lets them be.

        Only the surest windows are asked about, and what no sentence bears out stays uncertain: it is not cleared.
        """
        asked = [at for at, stretch in enumerate(stretches) if stretch.parts and max(scores[at]) > UNCERTAIN]
        asked = sorted(asked, key=lambda at: -max(scores[at]))[:ASKED]
        if not asked:
            return scores
        logits = await self._batcher.judge([part for at in asked for part in stretches[at].parts])
        rows = iter(self._engine.calibrator.scores(logits))
        most = {at: max(max(_doubted(next(rows), BEARING_DOUBT)) for _ in stretches[at].parts) for at in asked}
        return [
            [min(score, max(UNCERTAIN, most[at])) for score in row] if at in most else row
            for at, row in enumerate(scores)
        ]

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

    def _own_findings(self, stretches: Sequence[Stretch], scores: Scores) -> list[Finding]:
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


def _doubted(row: list[float], doubt: float) -> list[float]:
    return row if doubt == 1 else [max(0.0, 1 - doubt * (1 - score)) for score in row]
