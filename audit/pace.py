"""How long delivery rests between parts of its work, so that turns on the same machine do not wait for it. Pure."""


class Pace:
    """Rests as long as may be while the backlog does not grow; half as long with each look at which it has grown."""

    def __init__(self, rest: float, least: float, noise: int) -> None:
        """`rest` and `least`: longest and shortest pause, as multiples of the time that a part took.

        `noise`: so many records more than at the last look are not yet a growing backlog.
        """
        self.rest = rest
        self._longest, self._least, self._noise = rest, least, noise
        self._waited = 0

    def looked(self, pending: int) -> None:
        """Take how many records wait now."""
        grew = pending > self._waited + self._noise
        self.rest = min(self._longest, max(self._least, self.rest * (0.5 if grew else 2.0)))
        self._waited = pending
