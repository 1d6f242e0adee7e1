"""How long delivery rests between parts of its work, so that turns on the same machine do not wait for it. Pure."""


class Pace:
    """Rests long while little waits, and so that a backlog shrinks steadily, neither hardly nor in haste.

    It is not enough that a backlog does not grow much: it would never be gone.
    """

    def __init__(self, rest: float, least: float, step: int) -> None:
        """`rest` and `least`: longest and shortest pause, as multiples of the time that a part took.

        `step`: up to so many records are no backlog; by one to two times so many one is to shrink from look to look.
        """
        self.rest = rest
        self._longest, self._least, self._step = rest, least, step
        self._waited = 0

    def looked(self, pending: int) -> None:
        """Take how many records wait now."""
        shrunk = self._waited - pending
        if pending <= self._step or shrunk > 2 * self._step:
            self.rest = min(self._longest, self.rest * 2.0)
        elif shrunk < self._step:
            self.rest = max(self._least, self.rest * 0.5)
        self._waited = pending
