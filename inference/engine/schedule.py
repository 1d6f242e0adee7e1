"""What the decode loop does next: whose prompt is read, and for how long while others decode."""

from collections.abc import Sequence

from inference.engine.jobs import Job

_OLDEST_EVERY = 4
_SHARE = 0.9
_LEAST_S = 0.001


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

    So the longest gap between two tokens of theirs is two steps and one part of a layer of a chunk.
    """

    def __init__(self) -> None:
        self._step_s = 0.0

    def stepped(self, seconds: float) -> None:
        """Note how long a decode step took; recent ones count most."""
        self._step_s = seconds if not self._step_s else 0.8 * self._step_s + 0.2 * seconds

    @property
    def budget_s(self) -> float:
        """Seconds of reading between two decode steps."""
        return max(_LEAST_S, _SHARE * self._step_s)
