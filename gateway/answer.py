"""The answer of one turn: hold back, examine, release what was examined. The caller makes each release durable."""

import asyncio
from dataclasses import dataclass, field

import msgspec

from audit.record import FindingRecord
from gateway.bulk import groups
from gateway.lexicon import Lexicon, stopped
from gateway.turn_records import findings_of
from inference.ports import Delta, FinishReason, Usage
from safety.ports import SafetyLayer
from safety.pseudonyms import Restorer
from safety.stream import StreamWindow, Stretch, deliver
from safety.verdict import Decision

TOGETHER_CHARACTERS = 4_096
"""Characters of stretches that are examined at once, where they are long."""


class Release(msgspec.Struct, frozen=True):
    """Examined text that may be shown once its record is durable."""

    text: str
    offset: int
    """Code points of the answer delivered before it."""
    since: int
    """Code points of the generated text released before it."""
    decisions: tuple[Decision, ...]
    findings: tuple[FindingRecord, ...]


@dataclass
class Answer:
    """What the model said so far and what became of it. Lives in the one task that conducts the turn."""

    safety: SafetyLayer
    groups: tuple[str, ...]
    limit_chars: int
    window: StreamWindow = field(default_factory=StreamWindow)
    restorer: Restorer = field(default_factory=Restorer)
    """Puts the real values of pseudonyms back; guards and records of what was generated see the placeholders."""
    generated: list[str] = field(default_factory=list)
    characters: int = 0
    examined: int = 0
    """Code points of the generated text that were examined and passed."""
    delivered: int = 0
    """Code points delivered, counted after redaction and restoring."""
    decisions: list[Decision] = field(default_factory=list)
    findings: list[FindingRecord] = field(default_factory=list)
    blocking: Decision | None = None
    finish_reason: FinishReason | None = None
    lexicon: Lexicon = field(default_factory=Lexicon)
    """Words at which the model is stopped while it decodes."""
    stopping: bool = False
    """Whether the tier says that it stops at them."""
    stopped_by: str = ""
    """Rule at which the model was stopped."""
    usage: Usage = field(default_factory=Usage)

    @property
    def text(self) -> str:
        """All that was generated."""
        return "".join(self.generated)

    @property
    def withheld(self) -> str:
        """What was generated and never released."""
        return self.text[self._released :]

    @property
    def _released(self) -> int:
        """Code points of the generated text that went into releases."""
        return self.examined - len(self.restorer.held)

    @property
    def redacted(self) -> bool:
        """Whether something was replaced before it was shown."""
        return any(decision.redactions for decision in self.decisions)

    async def take(self, deltas: list[Delta]) -> Release | None:
        """Take deltas from the model; return what is examined and complete now."""
        stretches: list[Stretch] = []
        for delta in deltas:
            if delta.stopped_by or delta.finish_reason is FinishReason.CONTENT_FILTER:
                return await self._stop(delta, stretches)
            stretches += self._push(delta)
        if self.full:
            self.finish_reason = FinishReason.LENGTH
        if self.finish_reason is not None:  # the end came with the text: what is held back need not wait for a round
            stretches += self.window.flush()
        return await self._examine(stretches)

    def take_back(self, release: Release) -> None:
        """Count the latest release as never made: it has no record, so nobody was shown it."""
        self.delivered = release.offset
        self.examined = release.since + len(self.restorer.held)

    def _push(self, delta: Delta) -> list[Stretch]:
        """Add a delta; return the stretches that are complete with it."""
        text = delta.text[: max(0, self.limit_chars - self.characters)]
        self.generated.append(text)
        self.characters += len(text)
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.usage = delta.usage or self.usage
        self.stopping = self.stopping or self.lexicon.stops(delta)
        return self.window.push(text) if text else []

    async def tick(self) -> Release | None:
        """Release what has waited too long for the end of its sentence."""
        return await self._examine(self.window.overdue())

    async def finish(self) -> Release | None:
        """Examine what is held back, when the model has said all; an empty answer too, so that its record says so."""
        rest = self.window.flush() if self.characters else [Stretch("", "")]
        return await self._examine(rest, last=True)

    @property
    def full(self) -> bool:
        """Whether the answer has reached its limit: nothing more is taken."""
        return self.characters >= self.limit_chars

    async def _stop(self, last: Delta, complete: list[Stretch]) -> Release | None:
        """Release what was complete before the model was stopped, and withhold the rest, even if no guard sees why."""
        release = await self._examine(complete)
        rest = [*self._push(last), *self.window.flush()]
        self.finish_reason, self.stopped_by = FinishReason.CONTENT_FILTER, self.lexicon.rule(last)
        if self.blocking is not None:
            return release
        at, decisions = self.examined, await self._decisions(rest)
        for stretch, decision in zip(rest, decisions, strict=False):
            self.findings += findings_of(decision, "answer", at - len(stretch.overlap))
            at += len(stretch.text)
        unseen = stopped(self.stopped_by, self.characters, self.safety.policy_hash)
        self.blocking = next((decision for decision in decisions if decision.blocked), unseen)
        if self.blocking is unseen:
            self.findings += findings_of(unseen, "answer")
        self.decisions += [*decisions, *([unseen] if self.blocking is unseen else [])]
        return release

    async def _decisions(self, stretches: list[Stretch]) -> list[Decision]:
        """Examine stretches in their order, up to and with the first that is blocked."""
        decisions: list[Decision] = []
        for group in groups(stretches, lambda stretch: len(stretch.text), TOGETHER_CHARACTERS):
            for decision in await asyncio.gather(*map(self._decision, group)):
                decisions.append(decision)
                if decision.blocked:
                    return decisions
        return decisions

    async def _decision(self, stretch: Stretch) -> Decision:
        return await self.safety.examine(stretch.whole, stretch.context(self.groups))

    async def _examine(self, stretches: list[Stretch], *, last: bool = False) -> Release | None:
        if not stretches and not (last and self.restorer.held):
            return None
        since, decisions = self._released, await self._decisions(stretches)
        texts: list[str] = []
        passed: list[Decision] = []
        findings: list[FindingRecord] = []
        for stretch, decision in zip(stretches, decisions, strict=False):
            findings += findings_of(decision, "answer", self.examined - len(stretch.overlap))
            self.decisions.append(decision)
            if decision.blocked:
                self.blocking = decision
                break
            passed.append(decision)
            texts.append(self.restorer.push(deliver(decision, stretch), _untouched(decision, stretch)))
            self.examined += len(stretch.text)
        if last and self.blocking is None:
            texts.append(self.restorer.flush())
        self.findings += findings
        text = "".join(texts)
        if not text:
            return None
        release = Release(text, self.delivered, since, tuple(passed), tuple(findings))
        self.delivered += len(text)
        return release


def _untouched(decision: Decision, stretch: Stretch) -> int:
    """Code points at the end of a stretch that are the model's own: no redaction stands in them."""
    whole = len(stretch.overlap) + len(stretch.text)
    return min(len(stretch.text), whole - max((cut.end for cut in decision.redactions), default=0))
