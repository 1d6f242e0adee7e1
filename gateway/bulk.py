"""Many texts examined in groups, so that a guard's time is enough for each and a message just sent need not wait.

A guard's time runs for every text from the moment it is handed over: of a hundred at once, most would be late, and so
would the messages that other people send meanwhile. So only a few go together, and only a few groups are under way.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from gateway.problems import OverloadedError
from safety.ports import SafetyLayer, TurnContext
from safety.verdict import Decision

TOGETHER = 16
"""Texts that are examined at once."""
CHARACTERS = 2_048
"""Characters of them, where they are long: about a second of a classifier on two cores, in Chinese."""

T = TypeVar("T")


def groups(items: Iterable[T], length: Callable[[T], int], characters: int = CHARACTERS) -> Iterator[list[T]]:
    """Cut into groups of at most `TOGETHER` items and `characters`; an item that is longer is a group of its own."""
    group: list[T] = []
    total = 0
    for item in items:
        total += length(item)
        if len(group) == TOGETHER or (group and total > characters):
            yield group
            group, total = [], length(item)
        group.append(item)
    if group:
        yield group


class Bulk:
    """Examines many texts, group after group; at most `places` groups of all who ask are under way."""

    def __init__(self, places: int, wait_s: float) -> None:
        """Let a group wait `wait_s` for its place, in the order of asking; then the whole is refused."""
        self._places = asyncio.Semaphore(places)
        self._wait_s = wait_s

    async def examine(
        self, safety: SafetyLayer, texts: Sequence[str], context: TurnContext
    ) -> AsyncGenerator[Decision, None]:
        """Yield the decision on each text, in order. Raises `OverloadedError` when no place became free in time."""
        some = list(groups(texts, len))
        for group in some:
            if len(some) == 1:  # no more than a message: it waits for nobody
                decisions = await _examined(safety, group, context)
            else:
                async with self._place():
                    decisions = await _examined(safety, group, context)
            for decision in decisions:
                yield decision

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise OverloadedError(
                "Too many long texts are being examined; try again shortly.", retry_after=5
            ) from error
        try:
            yield
        finally:
            self._places.release()


async def _examined(safety: SafetyLayer, texts: Iterable[str], context: TurnContext) -> list[Decision]:
    return await asyncio.gather(*(safety.examine(text, context) for text in texts))
