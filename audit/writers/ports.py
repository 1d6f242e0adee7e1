"""What the log asks of a writer, and what it hands to one."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from audit.record import Entry, Receipt

BATCH_ENTRIES = 256
BATCH_CHARACTERS = 8 * 2**20
"""Most entries and characters of text that share a transaction."""
PROBE_BYTES = 65_536
"""What a readiness probe writes: about a large record with its texts."""


class Submission(msgspec.Struct, eq=False):
    """Entries that are to be committed together, and what became of them. No entries: a probe of readiness."""

    entries: tuple[Entry, ...]
    characters: int
    receipts: tuple[Receipt, ...] = ()
    error: Exception | None = None


Settle = Callable[[list[Submission]], None]
"""Called in the event loop with submissions that are durable or have an error."""


class Writer(Protocol):
    """The one that commits. It drains what is waiting into one transaction, commits durably, then settles."""

    writer_id: str
    away_s: float
    """How long a living writer may be without its place, in seconds; 0 where only its end frees it."""

    async def start(self) -> None:
        """Open the database. Raises `audit.ports.AuditUnavailableError`."""

    def submit(self, submission: Submission) -> None:
        """Put a submission into the queue; it is settled later, whatever happens."""

    async def close(self) -> None:
        """Commit what is queued, then end."""

    def claim(self, writer_id: str) -> AbstractAsyncContextManager[bool]:
        """Hold the place of another writer while its turns are closed; False when that writer is alive."""


def take_batch(first: Submission, following: Callable[[], Submission | None]) -> list[Submission]:
    """Return `first` and what `following` gives, up to the bounds of a transaction."""
    batch, entries, characters = [first], len(first.entries), first.characters
    while entries < BATCH_ENTRIES and characters < BATCH_CHARACTERS:
        submission = following()
        if submission is None:
            break
        batch.append(submission)
        entries += len(submission.entries)
        characters += submission.characters
    return batch
