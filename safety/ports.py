"""The ports of the safety layer: what a guard is, and what the gateway may ask of the whole."""

from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from safety.normalise import NormalisedText
from safety.verdict import Decision, Examination


class Direction(StrEnum):
    """Which way a text goes: to the model or to the person."""

    INPUT = "input"
    OUTPUT = "output"


class TurnContext(msgspec.Struct, frozen=True):
    """What a guard may know besides the text."""

    direction: Direction
    groups: tuple[str, ...] = ()
    """The person's groups: the policy may be stricter for some."""
    window: tuple[str, ...] = ()
    """Earlier texts of the conversation, oldest first, without blocked ones; the rolling window is cut from its end."""
    overlap: int = 0
    """Code points at the start of the text that were already released (streams): examined again for what began there,
    but they can no longer be cut. Findings that end inside the overlap are not reported again."""
    before: str = ""
    """What stood right before the text (streams): a guard may ask it what a number is (a word, the head of a column),
    and finds nothing in it."""


class Guard(Protocol):
    """One examiner of text. A guard reports what it sees; it never decides."""

    name: str
    version: str

    def validate(self) -> None:
        """Check own rules, model or word lists at start; raise `ValueError` that says what to mend."""

    async def examine(self, text: NormalisedText, context: TurnContext) -> Examination:
        """Examine one text. Raises anything on failure: the pipeline turns it into status `error`."""


@runtime_checkable
class SwiftGuard(Guard, Protocol):
    """A guard that can examine a short text without waiting for anything: it costs no task of its own."""

    def examine_now(self, text: NormalisedText, context: TurnContext) -> Examination | None:
        """Examine in place; None where that would hold up the event loop, then `examine` is asked. Raises anything."""


class SafetyLayer(Protocol):
    """What the gateway sees of safety: one call for a text in either direction, and the policy's identity."""

    @property
    def policy_hash(self) -> str:
        """Identity of the policy in force."""

    @property
    def classifier_hash(self) -> str:
        """Identity of the classifier in force."""

    async def examine(self, text: str, context: TurnContext) -> Decision:
        """Normalise, examine by every guard, decide. Never raises for a failing guard: the decision then blocks."""
