"""Usage for people to read: by day, of one person or of everybody."""

import csv
import io
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.usage import tables

DAYS = 31
MOST_ROWS = 10_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class UsageRow(msgspec.Struct, frozen=True):
    """What a person or group used on a day, or in all days asked for (`day` is empty then)."""

    day: str
    scope: str
    name: str
    turns: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens of questions and answers."""
        return self.prompt_tokens + self.completion_tokens


class UsageReport:
    """Reads usage."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def of_person(self, subject: str, today: str) -> tuple[UsageRow, ...]:
        """Return the last 31 days of a person on which something was used, newest first."""
        table = tables.usage
        since = (datetime.fromisoformat(today) - timedelta(days=DAYS - 1)).strftime("%Y-%m-%d")
        query = sa.select(table).where(
            table.c.scope == "person", table.c.name == subject, table.c.day >= since, table.c.day <= today
        )
        return await self._rows(query.order_by(table.c.day.desc()))

    async def of_all(self, scope: str, period: str) -> tuple[UsageRow, ...]:
        """Return what each person or group used in a day or month, those who used most first."""
        table = tables.usage
        sums = [sa.func.sum(table.c[name]).label(name) for name in ("turns", "prompt_tokens", "completion_tokens")]
        query = sa.select(sa.literal("").label("day"), table.c.scope, table.c.name, *sums)
        query = query.where(table.c.scope == scope, table.c.day.startswith(period, autoescape=True))
        query = query.group_by(table.c.scope, table.c.name).order_by(sums[2].desc(), table.c.name).limit(MOST_ROWS)
        return await self._rows(query)

    async def _rows(self, query: sa.Select[tuple[object, ...]]) -> tuple[UsageRow, ...]:
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(
            UsageRow(row.day, row.scope, row.name, int(row.turns), int(row.prompt_tokens), int(row.completion_tokens))
            for row in rows
        )


def as_csv(rows: tuple[UsageRow, ...]) -> str:
    """Return rows as CSV (RFC 4180); no cell is a formula for a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(UsageRow.__struct_fields__)
    for row in rows:
        writer.writerow(_cell(getattr(row, name)) for name in UsageRow.__struct_fields__)
    return out.getvalue()


def _cell(value: str | int) -> str | int:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
