"""One request within the decode loop: what it needs, how far it is, and how its tokens become deltas."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from torch import Tensor

from inference.chatglm3.reply import ReplyReader
from inference.engine import slots
from inference.engine.sampling import Sampler
from inference.forbidden import Walk
from inference.ports import Delta, FinishReason, InferenceError, Timing, Usage

Deliver = Callable[[Delta | InferenceError], None]


@dataclass
class Clock:
    """When things happened to a request, in seconds of the monotonic clock."""

    arrived: float = field(default_factory=time.monotonic)
    admitted: float | None = None
    """When it got a place; None where that is not known."""
    first: float = 0.0

    def timing(self) -> Timing:
        """Return the times of a request that ends now."""
        now = time.monotonic()
        queued_s = None if self.admitted is None else self.admitted - self.arrived
        return Timing(queued_s=queued_s, first_s=self.first - self.arrived, decode_s=now - self.first)


@dataclass(eq=False)
class Job:
    """One request in the loop; equal only to itself."""

    prompt: list[int]
    max_tokens: int
    sampler: Sampler
    reply: ReplyReader
    deliver: Deliver
    """Called from the loop's thread with each stretch of the answer, the last one with a finish reason, or an error."""
    stop_ids: frozenset[int]
    """Ids that end the answer."""
    bias: Tensor
    """Added to the logits: what may not be chosen has -inf (vocabulary)."""
    token_ids: bool = False
    """Deliver each token with its id."""
    forbidden: Walk | None = None
    """What must not be said, and how far the answer is into it."""
    left_out: int = 0
    """Messages of the dialogue that are not in the prompt."""
    memory: slots.Memory | None = None
    reading: slots.Reading | None = None
    """The chunk of the prompt that is on its way through the layers."""
    read: int = 0
    """Tokens of the prompt that have been read."""
    last: int = 0
    """The token chosen last, not yet read."""
    generated: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    clock: Clock = field(default_factory=Clock)

    @property
    def capacity(self) -> int:
        """Most tokens that the request can come to."""
        return len(self.prompt) + self.max_tokens

    @property
    def unread(self) -> int:
        """Tokens of the prompt that have not been read."""
        return len(self.prompt) - self.read

    def forget(self) -> None:
        """Give back what was kept of the tokens: whoever reads slowly must not hold memory that others wait for."""
        self.memory = self.reading = None

    def choose(self, logits: Tensor) -> bool:
        """Choose the next token from logits (vocabulary) and deliver what it adds; return whether it is the last."""
        return self.take(self.sampler.choose(logits + self.bias))

    def take(self, token: int) -> bool:
        """Deliver what a token adds; return whether it is the last.

        The last stretch is not delivered here: the request must have left the batch by then (see `finish`).
        """
        self.last = token
        self.generated += 1
        first = self.generated == 1
        if first:
            self.clock.first = time.monotonic()
        ended = token in self.stop_ids
        text, stopped = ("", False) if ended else self.reply.push(token)
        last = ended or stopped or self.generated >= self.max_tokens
        rule = self._forbidden_by(token, last=last)
        last = last or bool(rule)
        if last and not stopped:
            text += self.reply.flush()
        delta = Delta(text=text, lexicon=self.forbidden.digest if self.forbidden else "")
        if self.token_ids:
            delta = Delta(text=text, token_ids=(token,), prompt_token_ids=tuple(self.prompt) if first else ())
        if rule:
            self._end = msgspec.structs.replace(delta, stopped_by=rule), FinishReason.CONTENT_FILTER
        elif last:
            self._end = delta, FinishReason.STOP if ended or stopped else FinishReason.LENGTH
        elif text or self.token_ids:
            self.say(delta)
        return last

    def _forbidden_by(self, token: int, *, last: bool) -> str:
        """Return the rule of a forbidden word that this token completes, or that the answer ends with."""
        if self.forbidden is None:
            return ""
        found = "" if token in self.stop_ids else self.forbidden.token(token)
        return found or (self.forbidden.end() if last else "")

    def cut_off(self, reason: FinishReason) -> None:
        """End the answer after the tokens that were taken: whoever computes has no more."""
        rule = self.forbidden.end() if self.forbidden is not None else ""
        lexicon = self.forbidden.digest if self.forbidden is not None else ""
        self._end = (
            Delta(text=self.reply.flush(), lexicon=lexicon, stopped_by=rule),
            FinishReason.CONTENT_FILTER if rule else reason,
        )
        self.finish()

    def finish(self) -> None:
        """Deliver the last stretch, after `choose` has returned True."""
        delta, reason = self._end
        calls = self.reply.calls if reason is not FinishReason.CONTENT_FILTER else ()
        self.say(
            msgspec.structs.replace(
                delta,
                finish_reason=FinishReason.TOOL_CALLS if calls else reason,
                usage=Usage(prompt_tokens=len(self.prompt), completion_tokens=self.generated),
                tool_calls=calls,
                left_out=self.left_out,
                timing=self.clock.timing(),
            )
        )

    def say(self, event: Delta | InferenceError) -> None:
        """Deliver something, unless nobody waits for it any more."""
        if not self.cancelled.is_set():
            self.deliver(event)

    _end: tuple[Delta, FinishReason] = (Delta(), FinishReason.STOP)
