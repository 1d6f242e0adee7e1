"""What the decode loop does next: whose prompt is read, and for how long while others decode."""

from collections import deque
from collections.abc import Sequence

from inference.engine.jobs import Job

_OLDEST_EVERY = 4
_SHARE = 0.9
_LEAST_S = 0.001
_PARTS = 3
"""Parts of a layer; one takes far longer than another."""


class Prompts:
    """Whose prompt is read next.

    The shortest rest goes first, so that a late short request does not wait behind a long one; every fourth time the
    oldest goes first, so that short ones cannot hold a long one up for ever.
    """

    def __init__(self) -> None:
        self._turn = 0

    def next(self, running: Sequence[Job]) -> Job | None:
        """Return the request (oldest first in `running`) whose prompt is read next, if any."""
        unread = [job for job in running if job.unread]
        if not unread:
            return None
        self._turn += 1
        if self._turn % _OLDEST_EVERY == 0:
            return unread[0]
        return min(unread, key=lambda job: job.unread)


class Pace:
    """How long reading may hold up those that decode: about as long as one of their steps takes.

    So the longest gap between two tokens of theirs is two steps, or one and one part of a layer where that is longer.
    """

    def __init__(self) -> None:
        self._step_s = 0.0
        self._parts_s: deque[float] = deque(maxlen=_PARTS)

    def stepped(self, seconds: float) -> None:
        """Note how long a decode step took; recent ones count most."""
        self._step_s = seconds if not self._step_s else 0.8 * self._step_s + 0.2 * seconds

    def read(self, seconds: float) -> None:
        """Note how long a part of a layer took."""
        self._parts_s.append(seconds)

    def goes_on(self, seconds: float) -> bool:
        """Say whether another part may follow after so many seconds of reading, if it takes what the longest took."""
        return seconds + max(self._parts_s, default=0.0) <= self.budget_s

    @property
    def budget_s(self) -> float:
        """Seconds of reading between two decode steps."""
        return max(_LEAST_S, _SHARE * self._step_s)
