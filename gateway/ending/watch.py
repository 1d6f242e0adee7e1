"""Those who are being answered right now: once a second it is asked whether they still may be.

Whoever streams (a turn, an export) holds a `Watched` and looks at its `ended` before each part; that costs nothing.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.auth.principal import Principal
from gateway.ending.ended import POLL_S, EndedAccess
from gateway.problems import AccessEndedError, AttestError, ProviderUnavailableError


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
        """Read the lists and look after the streams, once a second, until cancelled."""
        while True:
            await self.refresh()
            await self.look()
            await asyncio.sleep(POLL_S)

    async def refresh(self) -> None:
        """Read the lists; one that cannot be read lets nobody in once it is too old."""
        for each in self._lists:
            try:
                await each.refresh()
            except (SQLAlchemyError, OSError) as error:
                structlog.get_logger("attest.auth").error("access.unreadable", error=type(error).__name__)

    async def look(self) -> None:
        """End every stream whose reader may no longer be answered."""
        watched = tuple(self._watched)
        found: dict[str, Mapping[str, Principal] | None] = {}
        for kind, standing in self._standing.items():
            ids = {each.principal.credential.id for each in watched if each.principal.credential.kind == kind}
            found[kind] = await self._found(standing, ids) if ids else {}
        for each in watched:
            credential = each.principal.credential
            known = found.get(credential.kind, {})
            # An unreadable database says nothing about anybody; the list's own age ends what stays unknown.
            now = each.principal if known is None else known.get(credential.id)
            if now is None or not self._may_go_on(each.principal, now):
                each.ended = True

    async def _found(self, standing: Standing, ids: set[str]) -> Mapping[str, Principal] | None:
        found: dict[str, Principal] = {}
        try:
            for each in ids:
                found |= await self._one(standing, each)
        except (SQLAlchemyError, OSError):
            return None
        return found

    async def _one(self, standing: Standing, credential_id: str) -> Mapping[str, Principal]:
        try:
            return await standing.standing((credential_id,))
        except ProviderUnavailableError:
            return {}

    def _may_go_on(self, before: Principal, now: Principal) -> bool:
        """Whether the reader still has every role with which the stream began."""
        try:
            return self._ended.standing(now).roles >= before.roles
        except AttestError:
            return False
