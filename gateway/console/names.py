"""Officers and staff by their names where a store knows only who they are at the identity provider."""

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from audit.ports import AuditUnavailableError
from audit.search.names import PersonNames
from gateway.web.markdown import visible

KEPT_S = 60.0
"""Seconds for which a name, or that there is none, is not looked up again."""
MOST = 10_000
"""People who are kept in memory."""
ON_A_PAGE = 500
"""People of one page who are looked up; whoever comes after them is named by the subject alone."""
SHORT, BEGINNING = 24, 8
"""A longer subject is shown by its first characters beside the name: often it is 36 of no meaning."""


@dataclass
class Names:
    """What a gateway knows of people's names."""

    records: PersonNames
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[str, float]] = field(default_factory=dict)

    def get(self, subject: str) -> str | None:
        """Return a name; empty: there is none; None: look it up first."""
        name, until = self._known.get(subject, ("", 0.0))
        return name if self.clock() < until else None

    async def learn(self, subjects: Collection[str]) -> None:
        """Look people up. A log that cannot be read now leaves them without names: they are an aid."""
        subjects = list(subjects)[:ON_A_PAGE]
        found: dict[str, str] = {}
        with contextlib.suppress(AuditUnavailableError):
            found = await self.records.of(subjects)
        if len(self._known) + len(subjects) > MOST:
            self._known.clear()
        until = self.clock() + KEPT_S
        self._known |= {subject: (found.get(subject, ""), until) for subject in subjects}


@dataclass
class Who:
    """Says who somebody is, for one page. What it returns has no character that cannot be seen."""

    names: Names | None
    unknown: dict[str, None] = field(default_factory=dict)
    """Who must be looked up before the page is right, in the page's order."""

    def __call__(self, subject: str, *, whole: bool = False) -> str:
        """Return name and subject, or the subject alone; `whole`: where it must be told apart from any other."""
        name = self.names.get(subject) if self.names else ""
        if name is None:
            self.unknown[subject] = None
        if not name or name == subject:
            return visible(subject)
        short = subject if whole or len(subject) <= SHORT else subject[:BEGINNING] + "…"
        return f"{visible(name)} ({visible(short)})"
