"""Budgets as the company writes them: tokens and turns, per day and month, for a person or a whole group.

The file (`ATTEST_BUDGETS`) is YAML; docs/access.md describes it. Nobody has a budget whom it does not name.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml

from gateway.auth.principal import Principal
from gateway.auth.roles import bare
from gateway.settings import SettingsError

PERSON, GROUP = "person", "group"
MOST_GROUPS = 20
"""Groups of one person that usage is counted for; those with a budget come first."""
_Amount = Annotated[int, msgspec.Meta(ge=0, le=2**50)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Most tokens and turns in one day or month; what is absent is not limited."""

    tokens: _Amount | None = None
    turns: _Amount | None = None


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a day and of a month."""

    day: Limits = Limits()
    month: Limits = Limits()


class BudgetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file whole."""

    zone: str = "UTC"
    """Where a day begins, by the name of the IANA database."""
    warn_at: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    """Part of a budget from which on the person is told."""
    person: Budget = Budget()
    """Each person who is not named."""
    people: dict[str, Budget] = {}
    """People and service accounts by their subject; instead of `person`."""
    groups: dict[str, Budget] = {}
    """All people of a group together, beside their own."""


class Counter(msgspec.Struct, frozen=True, order=True):
    """What is counted: one person or group, in one day or month."""

    scope: str
    name: str
    period: str


class Charge(msgspec.Struct, frozen=True):
    """A counter and how far it may go."""

    counter: Counter
    tokens: int | None
    turns: int | None


class Budgets(msgspec.Struct, frozen=True):
    """The budgets in force."""

    file: BudgetFile
    zone: ZoneInfo

    @classmethod
    def load(cls, path: Path | None) -> "Budgets":
        """Read the file; no file, no budgets. Raises `SettingsError`."""
        try:
            file = BudgetFile() if path is None else msgspec.convert(yaml.safe_load(path.read_text()) or {}, BudgetFile)
            zone = ZoneInfo(file.zone)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"ATTEST_BUDGETS: the file cannot be read ({type(error).__name__}).") from None
        except (msgspec.ValidationError, ZoneInfoNotFoundError, ValueError) as error:
            raise SettingsError(f"ATTEST_BUDGETS: {error}") from None
        groups = {bare(name): budget for name, budget in file.groups.items()}
        return cls(msgspec.structs.replace(file, groups=groups), zone)

    def charges(self, principal: Principal, now: datetime) -> tuple[Charge, ...]:
        """Return what a turn of this principal counts against, in one order everywhere (nobody waits in a circle)."""
        file = self.file
        own = file.people.get(principal.subject, file.person)
        budgets = [(PERSON, principal.subject, own)]
        budgets += [(GROUP, name, file.groups[name]) for name in self.groups(principal) if name in file.groups]
        day, month = periods(now.astimezone(self.zone))
        found = [
            Charge(Counter(scope, name, period), limits.tokens, limits.turns)
            for scope, name, budget in budgets
            for period, limits in ((day, budget.day), (month, budget.month))
            if limits.tokens is not None or limits.turns is not None
        ]
        return tuple(sorted(found, key=lambda charge: charge.counter))

    def groups(self, principal: Principal) -> tuple[str, ...]:
        """Return the groups of a person that usage is counted for."""
        names = dict.fromkeys(bare(group) for group in principal.groups)
        return tuple(sorted(names, key=lambda name: name not in self.file.groups))[:MOST_GROUPS]

    def today(self, now: datetime) -> str:
        """Return the day in the zone of the budgets."""
        return periods(now.astimezone(self.zone))[0]

    def resets_at(self, period: str) -> datetime:
        """Return when a day or month ends and its budgets begin anew."""
        begins = datetime.strptime(period if len(period) > len("2026-11") else f"{period}-01", "%Y-%m-%d")  # noqa: DTZ007 - the zone follows
        if len(period) > len("2026-11"):
            ends = begins + timedelta(days=1)
        else:
            ends = (begins.replace(day=28) + timedelta(days=4)).replace(day=1)
        return ends.replace(tzinfo=self.zone)


def periods(local: datetime) -> tuple[str, str]:
    """Return day and month of a time."""
    return local.strftime("%Y-%m-%d"), local.strftime("%Y-%m")
