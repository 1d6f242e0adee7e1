"""The families of indices, one index for each month: names and which month a record belongs to. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

_DECEMBER = 12


class Family(msgspec.Struct, frozen=True):
    """Indices that hold the same kind of document; who reads one family need not read another."""

    name: str

    @property
    def pattern(self) -> str:
        """Pattern that every index of the family matches, and no other's."""
        return f"{self.name}-*"

    def index(self, at: datetime) -> str:
        """Return the index of a record's own month (UTC), so that a retry always hits the same one."""
        return f"{self.name}-{month_of(at)}"


AUDIT = Family("attest-audit")
"""Metadata and decisions of every record; no text of a turn."""
CONTENT = Family("attest-content")
"""Texts of records."""
DELIVERY = Family("attest-delivery")
"""How delivery goes: samples for dashboards, not evidence."""
FAMILIES = (AUDIT, CONTENT, DELIVERY)


def month_of(at: datetime) -> str:
    """Return the month of a time in UTC as index names write it: `2026.11`."""
    moment = at.astimezone(UTC)
    return f"{moment.year:04}.{moment.month:02}"


def months_between(first: datetime, last: datetime) -> Iterator[datetime]:
    """Yield the first moment of each month from that of `first` to that of `last`, both included."""
    moment = first.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while moment <= last.astimezone(UTC):
        yield moment
        moment = next_month(moment)


def next_month(at: datetime) -> datetime:
    """Return the first moment of the month after `at`."""
    moment = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if moment.month == _DECEMBER:
        return moment.replace(year=moment.year + 1, month=1)
    return moment.replace(month=moment.month + 1)


def kept_from(now: datetime, keep: timedelta) -> datetime:
    """Return the first moment of the oldest month that a store keeps: those before it ended at least `keep` ago."""
    return (now - keep).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
