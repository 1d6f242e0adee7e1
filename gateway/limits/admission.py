"""Step 2 of a turn: whether this subject may start one, and a place for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Self

from gateway.auth.principal import Principal
from gateway.limits.gate import ConcurrencyGate
from gateway.limits.rate import MemoryRateLimiter, RateLimiter, RedisRateLimiter
from gateway.problems import AttestError, LimiterUnavailableError, OverloadedError, RateLimitedError
from gateway.settings import Settings


class Refusal(StrEnum):
    """Why a turn was not admitted; the `reason` of its `turn.refused` record and of the metric."""

    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    LIMITER_UNAVAILABLE = "limiter_unavailable"


def refusal_of(error: AttestError) -> Refusal | None:
    """Name the refusal that an error of `Admission.admit` stands for; None for any other error."""
    match error:
        case RateLimitedError():
            return Refusal.RATE_LIMITED
        case OverloadedError():
            return Refusal.OVERLOADED
        case LimiterUnavailableError():
            return Refusal.LIMITER_UNAVAILABLE
        case _:
            return None


def make_limiter(settings: Settings, per_minute: int, burst: int, on_failure: Callable[[], None]) -> RateLimiter:
    """Return buckets on Redis where `ATTEST_REDIS_URL` is set, else in this process."""
    url = settings.redis_url.get_secret_value()
    if not url:
        return MemoryRateLimiter(per_minute, burst)
    return RedisRateLimiter(url, per_minute, burst, when_gone=settings.redis_failure, on_failure=on_failure)


class Admission:
    """Rate limit per subject, then a place among the running turns.

    The rate comes first: one subject's flood is turned away before it can fill the queue that everyone shares.
    """

    def __init__(
        self, limiter: RateLimiter, gate: ConcurrencyGate, *, on_refused: Callable[[str], None] = lambda _reason: None
    ) -> None:
        self._limiter = limiter
        self._gate = gate
        self._on_refused = on_refused

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        on_refused: Callable[[str], None] = lambda _reason: None,
        on_limiter_failure: Callable[[], None] = lambda: None,
    ) -> Self:
        """Compose it: buckets on Redis where `ATTEST_REDIS_URL` is set, else in this process."""
        limiter = make_limiter(settings, settings.rate_per_minute, settings.rate_burst, on_limiter_failure)
        gate = ConcurrencyGate(settings.concurrent_turns, settings.queued_turns, settings.queue_wait_s)
        return cls(limiter, gate, on_refused=on_refused)

    @property
    def running(self) -> int:
        """Turns that hold a place."""
        return self._gate.running

    @property
    def queued(self) -> int:
        """Turns that wait for one."""
        return self._gate.queued

    @asynccontextmanager
    async def admit(self, principal: Principal) -> AsyncIterator[None]:
        """Hold a place for one turn of this principal for the length of the block.

        Raises `RateLimitedError`, `OverloadedError` (both with `retry_after`) or `LimiterUnavailableError`; the caller
        audits them (`refusal_of`). A turn refused for want of a place has paid its token all the same.
        """
        try:
            admission = await self._limiter.take(principal.subject)
            if not admission.allowed:
                raise RateLimitedError(retry_after=admission.retry_after_s)
            place = self._gate.place()
            await place.__aenter__()
        except AttestError as error:
            refusal = refusal_of(error)
            if refusal is not None:
                self._on_refused(refusal.value)
            raise
        try:
            yield
        finally:
            await place.__aexit__(None, None, None)

    async def ready(self) -> bool:
        """Whether a turn could be admitted now, as far as the limiter goes."""
        return await self._limiter.ready()

    async def aclose(self) -> None:
        """Give back the limiter's connections."""
        await self._limiter.aclose()
