"""The budget of one turn: held before it begins, corrected after it ended; and its usage, noted."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Self

import msgspec
import structlog
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.auth.principal import Principal
from gateway.limits.rate import redis_client
from gateway.problems import BudgetExhaustedError, LimiterUnavailableError
from gateway.settings import Settings, WhenLimiterFails
from gateway.usage.budget import PERSON, Budgets, Charge
from gateway.usage.counters import Counters, Exceeded, Held, SqlCounters
from gateway.usage.recorder import UsageRecorder
from gateway.usage.redis_counters import RedisCounters

LEAST_ANSWER = 16
"""Fewer tokens than this are no answer: the turn is refused instead."""


class BudgetNotice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A budget is nearly used up."""

    scope: str
    """`person` or `group`."""
    name: str
    """The group's name; empty for the person's own."""
    period: str
    """`day` or `month`."""
    unit: str
    """`tokens` or `turns`."""
    percent: int
    resets_at: datetime


Used = Callable[[], tuple[int, int]]
"""Returns the tokens of question and answer that a turn used until now."""


class Allowance:
    """What one turn may use, and did use."""

    def __init__(self, budgets: Budgets, charges: tuple[Charge, ...], held: Held | None, used: Used) -> None:
        self._budgets = budgets
        self._charges = charges
        self._held = held
        self._used = used

    @property
    def tokens(self) -> int | None:
        """Tokens of question and answer together that the turn may use; None: as many as it asks for."""
        return self._held.tokens if self._held else None

    def notice(self) -> BudgetNotice | None:
        """Return the budget that is used most, where that is worth a word."""
        used = sum(self._used())
        found: list[tuple[float, Charge, str]] = []
        before = self._held.used if self._held else ()
        for charge, (tokens, turns) in zip(self._charges, before, strict=False):
            if charge.tokens:
                found.append(((tokens + used) / charge.tokens, charge, "tokens"))
            if charge.turns:
                found.append(((turns + 1) / charge.turns, charge, "turns"))
        if not found:
            return None
        part, charge, unit = max(found, key=lambda one: one[0])
        if part < self._budgets.file.warn_at:
            return None
        resets_at = self._budgets.resets_at(charge.counter.period)
        return BudgetNotice(
            **described(charge), unit=unit, percent=min(100, math.floor(part * 100)), resets_at=resets_at
        )


def described(charge: Charge) -> dict[str, str]:
    """Return whose budget it is and of which time."""
    counter = charge.counter
    return {
        "scope": counter.scope,
        "name": "" if counter.scope == PERSON else counter.name,
        "period": "day" if len(counter.period) > len("2026-11") else "month",
    }


class Allowances:
    """Gives each turn its allowance."""

    def __init__(
        self,
        budgets: Budgets,
        counters: Counters,
        usage: UsageRecorder,
        *,
        when_gone: WhenLimiterFails = WhenLimiterFails.CLOSED,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.budgets = budgets
        self.usage = usage
        self._counters = counters
        self._when_gone = when_gone
        self._clock = clock
        self._ending: set[asyncio.Task[None]] = set()

    @classmethod
    def from_settings(cls, settings: Settings, engine: AsyncEngine) -> Self:
        """Compose it: counters on Redis where one is set, else in the database. Raises `SettingsError`."""
        url = settings.redis_url.get_secret_value()
        redis: Redis | None = redis_client(url) if url else None
        counters: Counters = SqlCounters(engine) if redis is None else RedisCounters(redis, engine)
        budgets = Budgets.load(settings.budgets)
        return cls(budgets, counters, UsageRecorder(engine), when_gone=settings.redis_failure)

    @asynccontextmanager
    async def turn(
        self, principal: Principal, dialogue_tokens: int, answer_tokens: int, used: Used
    ) -> AsyncIterator[Allowance]:
        """Hold a turn's budget for the length of the block; what `used` says at its end is what counts afterwards.

        `dialogue_tokens` is the most that the dialogue may have, `answer_tokens` the longest answer asked for.
        Raises `BudgetExhaustedError`, `LimiterUnavailableError`.
        """
        now = self._clock()
        charges = self.budgets.charges(principal, now)
        held = await self._hold(charges, dialogue_tokens, answer_tokens) if charges else None
        try:
            yield Allowance(self.budgets, charges, held, used)
        finally:
            prompt, completion = used()
            names = ((PERSON, principal.subject), *(("group", name) for name in self.budgets.groups(principal)))
            self.usage.note(self.budgets.today(now), names, prompt, completion)
            if held is not None:
                self._later(self._correct(charges, held, prompt + completion, 1))

    async def used(self, principal: Principal) -> tuple[tuple[Charge, int, int], ...]:
        """Return the budgets of a person with the tokens and turns that count against each now."""
        charges = self.budgets.charges(principal, self._clock())
        used = await self._counters.used(tuple(charge.counter for charge in charges))
        return tuple((charge, *amounts) for charge, amounts in zip(charges, used, strict=True))

    async def aclose(self) -> None:
        """Finish what is under way, and write what was used."""
        if self._ending:
            await asyncio.wait(tuple(self._ending))
        await self._counters.aclose()
        await self.usage.aclose()

    async def _hold(self, charges: tuple[Charge, ...], dialogue_tokens: int, answer_tokens: int) -> Held | None:
        least = dialogue_tokens + min(LEAST_ANSWER, answer_tokens)
        holding = asyncio.ensure_future(self._counters.hold(charges, dialogue_tokens + answer_tokens, least))
        try:
            answer = await asyncio.shield(holding)
        except asyncio.CancelledError:
            self._later(self._give_back(holding, charges))
            raise
        except LimiterUnavailableError:
            if self._when_gone is WhenLimiterFails.OPEN:
                return None
            raise
        if isinstance(answer, Exceeded):
            raise self._exhausted(answer.charge)
        return answer

    async def _give_back(self, holding: asyncio.Future[Held | Exceeded], charges: tuple[Charge, ...]) -> None:
        answer = await holding
        if isinstance(answer, Held):
            await self._correct(charges, answer, 0, 0)

    async def _correct(self, charges: tuple[Charge, ...], held: Held, tokens: int, turns: int) -> None:
        await self._counters.correct(tuple(charge.counter for charge in charges), held, tokens, turns)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._settle)

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # What was held stays counted as used: too much rather than too little.
            structlog.get_logger("attest.usage").error("budget.uncorrected", error=type(error).__name__)

    def _exhausted(self, charge: Charge) -> BudgetExhaustedError:
        ends = self.budgets.resets_at(charge.counter.period)
        what = described(charge)
        wait_s = max(1, math.ceil((ends - self._clock()).total_seconds()))
        whose = (
            ("your", "您") if what["scope"] == PERSON else (f"the group's ({what['name']})", f"用户组 {what['name']} ")
        )
        when = ("today", "今日") if what["period"] == "day" else ("this month", "本月")
        until = ends.strftime("%Y-%m-%d %H:%M %Z")
        return BudgetExhaustedError(
            f"{whose[0].capitalize()} budget for {when[0]} is used up; it begins anew at {until}. "
            f"{whose[1]}{when[1]}的用量额度已用完，将于 {until} 重新计算。",
            retry_after=wait_s,
            about=what,
        )
