"""Those who are being answered right now: once a second it is asked whether they still may be.

Whoever streams (a turn, an export) holds a `Watched` and looks at its `ended` before each part; that costs nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.auth.principal import Principal
from gateway.ending.ended import POLL_S, EndedAccess
from gateway.problems import AccessEndedError, AttestError, ProviderUnavailableError

READ_S = 10.0
"""How long reading one list may take: while it waits, it is as old as if nobody read it."""
AT_ONCE = 16
"""Credentials of one kind that are asked about at the same time: as many as the provider is asked questions."""


class Standing(Protocol):
    """Finds credentials of one kind again."""

    async def standing(self, ids: Collection[str]) -> Mapping[str, Principal]:
        """Return the principals of those that still stand. Raises `ProviderUnavailableError`: none of them is known."""


class Refreshed(Protocol):
    """A list that is kept in memory."""

    async def refresh(self) -> None:
        """Read what changed. Raises `SQLAlchemyError`, `OSError`."""


class Watched:
    """One stream, and whether its reader may still be answered."""

    __slots__ = ("ended", "principal")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.ended = False

    def check(self) -> None:
        """Raise `AccessEndedError` when the reader's access has ended."""
        if self.ended:
            raise AccessEndedError


class AccessWatch:
    """Watches the streams of this gateway. `run` it beside them."""

    def __init__(
        self, ended: EndedAccess, standing: Mapping[str, Standing], beside: Collection[Refreshed] = ()
    ) -> None:
        """`standing` finds the credentials of each kind again; the lists `beside` are read in the same second."""
        self._ended = ended
        self._lists = (ended, *beside)
        self._standing = standing
        self._watched: set[Watched] = set()

    @contextmanager
    def over(self, principal: Principal) -> Iterator[Watched]:
        """Watch one stream for the length of the block. Raises `AccessEndedError` at once where access has ended."""
        watched = Watched(principal)
        self._ended.standing(principal)
        self._watched.add(watched)
        try:
            yield watched
        finally:
            self._watched.discard(watched)

    async def run(self) -> None:
        """Read the lists and look after the streams, once a second, until cancelled.

        Each goes on by itself: a provider that does not answer holds up neither the lists nor what needs no provider.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(_every_second(self._read))
            for kind in self._standing:
                group.create_task(_every_second(partial(self._look_at, kind)))

    async def refresh(self) -> None:
        """Read the lists; one that cannot be read lets nobody in once it is too old."""
        for each in self._lists:
            try:
                async with asyncio.timeout(READ_S):
                    await each.refresh()
            except (SQLAlchemyError, OSError) as error:
                structlog.get_logger("attest.auth").error("access.unreadable", error=type(error).__name__)

    async def look(self) -> None:
        """End every stream whose reader may no longer be answered."""
        self._look_at_lists()
        await asyncio.gather(*(self._look_at(kind) for kind in self._standing))

    async def _read(self) -> None:
        await self.refresh()
        self._look_at_lists()

    def _look_at_lists(self) -> None:
        """End the streams that the lists alone end: nobody has to be asked."""
        for each in tuple(self._watched):
            known = each.principal.credential.kind in self._standing
            self._judge(each, each.principal if known else None)

    async def _look_at(self, kind: str) -> None:
        """Ask about the credentials of one kind with which streams are open."""
        streams: dict[str, list[Watched]] = {}
        for each in self._watched:
            if each.principal.credential.kind == kind:
                streams.setdefault(each.principal.credential.id, []).append(each)
        gate = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._ask(kind, each, of_it, gate) for each, of_it in streams.items()))

    async def _ask(self, kind: str, credential_id: str, streams: list[Watched], gate: asyncio.Semaphore) -> None:
        found: Mapping[str, Principal] = {}
        async with gate:
            try:
                found = await self._standing[kind].standing((credential_id,))
            except ProviderUnavailableError:
                pass
            except (SQLAlchemyError, OSError):
                # An unreadable database says nothing about anybody; the list's own age ends what stays unknown.
                return
        for each in streams:
            self._judge(each, found.get(credential_id))

    def _judge(self, watched: Watched, now: Principal | None) -> None:
        if now is None or not self._may_go_on(watched.principal, now):
            watched.ended = True

    def _may_go_on(self, before: Principal, now: Principal) -> bool:
        """Whether the reader still has every role with which the stream began."""
        try:
            return self._ended.standing(now).roles >= before.roles
        except AttestError:
            return False


async def _every_second(step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await step()
        await asyncio.sleep(POLL_S)
