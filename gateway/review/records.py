"""What reviewers say of a turn, and what follows from it. Pure."""

from enum import StrEnum
from typing import Annotated

import msgspec

from safety.policy_shape import CLASSIFIED
from safety.verdict import Category

MOST_LABELS = 3
"""After a third reviewer the majority decides."""
COMMENT_LIMIT = 2000


class Source(StrEnum):
    """Why a turn is looked at, most urgent first."""

    APPEAL = "appeal"
    """The person contests the block."""
    ESCALATED = "escalated"
    """The policy said `escalate`."""
    UNCERTAIN = "uncertain"
    """The classifier was between its two thresholds."""


class Place(StrEnum):
    """Which text of the turn is meant."""

    MESSAGE = "message"
    ANSWER = "answer"


class Outcome(StrEnum):
    """What the reviewers found."""

    HARMFUL = "harmful"
    HARMLESS = "harmless"


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one reviewer says: harmful in these categories, or harmless where there are none."""

    place: Place
    categories: Annotated[tuple[Category, ...], msgspec.Meta(max_length=len(CLASSIFIED))] = ()

    @property
    def harmful(self) -> bool:
        """Whether the text should have been stopped."""
        return bool(self.categories)


class GivenLabel(msgspec.Struct, frozen=True):
    """A label and who gave it."""

    reviewer: str
    label: Label
    labelled_us: int


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """One turn in the queue. Times are microseconds since 1970 UTC."""

    turn_id: str
    subject: str
    conversation_id: str
    source: Source
    opened_us: int
    """When the turn began; of an appeal, when it was made."""
    blocked: bool
    """Whether the person was stopped."""
    twice: bool = False
    """Two reviewers look at it in any case."""
    assigned_to: str = ""
    outcome: str = ""
    """`harmful | harmless`; empty while it waits."""
    decided_us: int | None = None
    labels: tuple[GivenLabel, ...] = ()


class Settled(msgspec.Struct, frozen=True):
    """What the labels come to."""

    outcome: Outcome
    place: Place
    categories: tuple[Category, ...]


def settle(labels: tuple[Label, ...], *, blocked: bool, twice: bool) -> Settled | None:
    """Return what the labels come to, or None while another reviewer must look.

    One label is enough when it says what the guards did. A reviewer who disagrees with the guards needs a second one,
    and two who disagree with each other a third; then the majority counts.
    """
    if not labels:
        return None
    harmful = [label for label in labels if label.harmful]
    harmless = [label for label in labels if not label.harmful]
    agreeing = max(harmful, harmless, key=len)
    needed = 1 if len(labels) == 1 and labels[0].harmful == blocked and not twice else 2
    if len(agreeing) < needed:
        return None
    categories = tuple(dict.fromkeys(category for label in agreeing for category in label.categories))
    return Settled(Outcome.HARMFUL if categories else Outcome.HARMLESS, agreeing[0].place, categories)


class Agreement(msgspec.Struct, frozen=True):
    """How far two reviewers of the same turn agree on harmful or harmless."""

    pairs: int
    """Turns with at least two labels: the first two count."""
    raw: float | None
    """Share of them on which both said the same."""
    kappa: float | None
    """Cohen's kappa: agreement beyond chance; None where chance alone explains all."""


def agreement(pairs: tuple[tuple[bool, bool], ...]) -> Agreement:
    """Return the agreement of (first, second) labels. Cohen, 'A coefficient of agreement for nominal scales', 1960."""
    count = len(pairs)
    if not count:
        return Agreement(0, None, None)
    raw = sum(first == second for first, second in pairs) / count
    first, second = (sum(pair[which] for pair in pairs) / count for which in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    return Agreement(count, raw, None if chance == 1 else (raw - chance) / (1 - chance))
