"""What counts against budgets: held when a turn begins, corrected when it ends. Atomic over every gateway.

A turn holds at first all the tokens that it could use, so that turns which run at the same time can never pass a limit
together; what it did not use is given back. A gateway that dies leaves what its turns held as used.
"""

import asyncio
from functools import partial
from typing import Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.database import transact
from gateway.problems import LimiterUnavailableError
from gateway.usage import tables
from gateway.usage.budget import Charge, Counter


class Held(msgspec.Struct, frozen=True):
    """A turn may begin."""

    tokens: int
    """Tokens that it may use: what was wanted, or what is left."""
    used: tuple[tuple[int, int], ...]
    """Tokens and turns of each charge before it."""
    makings: tuple[str, ...] = ()
    """Which making of each counter holds it, where a counter can be lost and made anew."""


class Exceeded(msgspec.Struct, frozen=True):
    """A turn may not begin: nothing was counted."""

    charge: Charge


class Counters(Protocol):
    """Counts. Raises `LimiterUnavailableError` when that cannot be done."""

    async def hold(self, charges: tuple[Charge, ...], tokens: int, least: int) -> Held | Exceeded:
        """Count one turn and up to `tokens` in all charges, or nothing where a limit leaves less than `least`."""

    async def correct(self, counters: tuple[Counter, ...], held: Held, tokens: int, turns: int) -> None:
        """Count what a turn used in the place of what it held; `counters` are those of its charges, in their order.

        `turns` is 1, or 0 for a turn that did not begin.
        """

    async def used(self, counters: tuple[Counter, ...]) -> tuple[tuple[int, int], ...]:
        """Return tokens and turns of counters."""

    async def aclose(self) -> None:
        """Give back connections."""


def decide(charges: tuple[Charge, ...], used: list[tuple[int, int]], tokens: int, least: int) -> Held | Exceeded:
    """Decide by what was used before."""
    granted = tokens
    for charge, (used_tokens, used_turns) in zip(charges, used, strict=True):
        if charge.turns is not None and used_turns >= charge.turns:
            return Exceeded(charge)
        if charge.tokens is not None:
            left = charge.tokens - used_tokens
            if left < least:
                return Exceeded(charge)
            granted = min(granted, left)
    return Held(granted, tuple(used))


_ROW = tables.counter.c
_CHANGE = (
    sa.update(tables.counter)
    .where(
        _ROW.scope == sa.bindparam("its_scope"),
        _ROW.name == sa.bindparam("its_name"),
        _ROW.period == sa.bindparam("its_period"),
    )
    .values(tokens=sa.bindparam("now_tokens"), turns=sa.bindparam("now_turns"))
)


def _values(counter: Counter, tokens: int, turns: int) -> dict[str, object]:
    named = {"its_scope": counter.scope, "its_name": counter.name, "its_period": counter.period}
    return {**named, "now_tokens": tokens, "now_turns": turns}


class _Work(msgspec.Struct):
    charges: tuple[Charge, ...]
    tokens: int
    least: int
    turns: int
    done: asyncio.Future[Held | Exceeded]
    correcting: bool


LINGER_S = 0.1
"""How long a correction waits for a turn whose transaction it can share. No turn is decided before it has been made."""


class SqlCounters:
    """Counters in the database. Whatever waits shares one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: list[_Work] = []
        self._working: asyncio.Task[None] | None = None

    async def hold(self, charges: tuple[Charge, ...], tokens: int, least: int) -> Held | Exceeded:
        """Count a turn; see `Counters`."""
        return await self._do(charges, tokens, least, 1, correcting=False)

    async def correct(self, counters: tuple[Counter, ...], held: Held, tokens: int, turns: int) -> None:
        """Count what a turn used; see `Counters`."""
        charges = tuple(Charge(counter, None, None) for counter in counters)
        await self._do(charges, tokens - held.tokens, 0, turns - 1, correcting=True)

    async def used(self, counters: tuple[Counter, ...]) -> tuple[tuple[int, int], ...]:
        """Return tokens and turns; see `Counters`."""
        try:
            async with self._engine.connect() as connection:
                found = await connection.run_sync(_rows, counters, lock=False)
        except (SQLAlchemyError, OSError):
            raise LimiterUnavailableError(retry_after=1) from None
        return tuple(found.get(counter, (0, 0)) for counter in counters)

    async def aclose(self) -> None:
        """Finish what waits."""
        self._begin_work()
        while self._working is not None and not self._working.done():
            await asyncio.wait([self._working])
            self._begin_work()

    async def _do(
        self, charges: tuple[Charge, ...], tokens: int, least: int, turns: int, *, correcting: bool
    ) -> Held | Exceeded:
        done: asyncio.Future[Held | Exceeded] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Work(charges, tokens, least, turns, done, correcting))
        if correcting:
            self._linger()
        else:
            self._begin_work()
        return await asyncio.shield(done)

    def _linger(self) -> None:
        asyncio.get_running_loop().call_later(LINGER_S, self._begin_work)

    def _begin_work(self) -> None:
        if self._waiting and (self._working is None or self._working.done()):
            self._working = asyncio.create_task(self._work())

    async def _work(self) -> None:
        while True:
            batch = sorted(self._waiting, key=lambda work: not work.correcting)
            self._waiting = []
            try:
                answers = await transact(self._engine, partial(_carry_out, batch=batch))
            except Exception:  # noqa: BLE001 - whatever it is, nobody may wait for good
                for work in batch:
                    work.done.set_exception(LimiterUnavailableError(retry_after=1))
                    work.done.exception()  # nobody may be waiting any more
            else:
                for work, answer in zip(batch, answers, strict=True):
                    work.done.set_result(answer)
            if all(work.correcting for work in self._waiting):
                if self._waiting:
                    self._linger()  # their own time may have come while this transaction ran, and found it running
                return


def _carry_out(connection: sa.Connection, batch: list[_Work]) -> list[Held | Exceeded]:
    counters = sorted({charge.counter for work in batch for charge in work.charges})
    levels = _rows(connection, tuple(counters), lock=True)
    if missing := [counter for counter in counters if counter not in levels]:
        _begin(connection, missing)
        levels = _rows(connection, tuple(counters), lock=True)
    before, answers = dict(levels), []
    for work in batch:
        used = [levels[charge.counter] for charge in work.charges]
        answer: Held | Exceeded = Held(work.tokens, ())
        if not work.correcting:
            answer = decide(work.charges, used, work.tokens, work.least)
        answers.append(answer)
        if isinstance(answer, Held):
            for charge, (tokens, turns) in zip(work.charges, used, strict=True):
                levels[charge.counter] = (max(0, tokens + answer.tokens), max(0, turns + work.turns))
    if changed := [_values(counter, *new) for counter, new in levels.items() if before[counter] != new]:
        connection.execute(_CHANGE, changed)
    return answers


def _begin(connection: sa.Connection, missing: list[Counter]) -> None:
    """Make the rows that are missing, from what was used before there was a budget."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for counter in missing:
        tokens, turns = used_before(connection, counter)
        values = msgspec.structs.asdict(counter) | {"tokens": tokens, "turns": turns}
        connection.execute(dialect.insert(tables.counter).values(**values).on_conflict_do_nothing())


def _rows(connection: sa.Connection, counters: tuple[Counter, ...], *, lock: bool) -> dict[Counter, tuple[int, int]]:
    table = tables.counter
    query = sa.select(table).where(sa.or_(sa.false(), *(_is(counter) for counter in counters)))
    query = query.order_by(table.c.scope, table.c.name, table.c.period)
    if lock and connection.dialect.name == "postgresql":
        query = query.with_for_update()
    rows = connection.execute(query).all()
    return {Counter(row.scope, row.name, row.period): (row.tokens, row.turns) for row in rows}


def used_before(connection: sa.Connection, counter: Counter) -> tuple[int, int]:
    """Return tokens and turns that a person or group used in a day or month, from the table of usage."""
    table = tables.usage
    tokens = sa.func.coalesce(sa.func.sum(table.c.prompt_tokens + table.c.completion_tokens), 0)
    query = sa.select(tokens, sa.func.coalesce(sa.func.sum(table.c.turns), 0)).where(
        table.c.scope == counter.scope, table.c.name == counter.name, table.c.day.startswith(counter.period)
    )
    found = connection.execute(query).one()
    return int(found[0]), int(found[1])


def _is(counter: Counter) -> sa.ColumnElement[bool]:
    table = tables.counter
    return sa.and_(table.c.scope == counter.scope, table.c.name == counter.name, table.c.period == counter.period)
