"""The policy at work, as a turn sees it: taken once at its beginning, kept to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from inference.ports import ForbiddenWords
from safety.ports import SafetyLayer


@dataclass(frozen=True)
class Judging:
    """One policy at work."""

    safety: SafetyLayer
    forbidden: Callable[[tuple[str, ...]], tuple[ForbiddenWords, ...]] = lambda _: ()
    """Words at which the model is stopped, for members of these groups."""


class InForce(Protocol):
    """Says by which policy turns are judged."""

    @property
    def now(self) -> Judging:
        """The policy at work; a turn keeps what it gets here."""

    def check(self) -> None:
        """Raise `PolicyUnavailableError` unless `now` is known to be what is in force."""
