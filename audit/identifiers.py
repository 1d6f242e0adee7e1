"""Ids of entries: UUIDv7 (RFC 9562, section 5.7) that strictly rise within one log, also when the clock steps back."""

import os
import time
from collections.abc import Callable
from uuid import UUID

_COUNTER_BITS = 12


class RisingIds:
    """Gives UUIDv7 ids, each greater than the one before (RFC 9562, section 6.2, method 1). Not safe across threads."""

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        """`clock` gives nanoseconds since 1970; the system's own when it is not given."""
        self._clock = clock or time.time_ns
        self._last = 0

    def next(self) -> str:
        """Return a new id in its usual string form."""
        tick = (self._clock() // 1_000_000) << _COUNTER_BITS
        self._last = max(tick, self._last + 1)
        milliseconds, counter = self._last >> _COUNTER_BITS, self._last & 0xFFF
        tail = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
        return str(UUID(int=milliseconds << 80 | 0x7 << 76 | counter << 64 | 0x2 << 62 | tail))
