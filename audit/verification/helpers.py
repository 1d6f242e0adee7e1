"""Pages of a large database that other processes go through, each its share, and tell in order.

A helper checks a page as one process alone would, and tells only of pages in which all is as it must be: their hashes,
ids and counts, which the whole is made of. A page of which there is more to tell, and every page of a helper that
ended, is left to the process that asked. It goes through it in its own snapshot, so that findings and their order are
those of one process alone. Each helper is at most the length of a pipe ahead: memory does not grow with the log.

Helpers are forked before anything is opened and before there are threads, so that they have every module already:
loading them takes as long as going through 15,000 records. A log that is small they only wait beside.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import KeyFileError, MasterKey
from audit.record import Kind
from audit.verification.brief import Read
from audit.verification.opening import opened_source
from audit.verification.page import Page
from audit.verification.source import PAGE, Source
from audit.verification.texts import Texts
from audit.verify import Report

_TOLD_APART = frozenset({Kind.RETENTION_PRUNED.value, Kind.SUBJECT_ERASED.value})
"""Kinds that change what later pages are held to."""


class Help(NamedTuple):
    """Who helps with which database."""

    opening: Callable[[], AsyncEngine]
    """Opens it; goes to other processes."""
    pipes: Sequence[Connection]
    """To the processes of `forked`."""
    worth: int = 100_000
    """Records from which on they are made use of."""


class Sound(NamedTuple):
    """A page in which all is as it must be, and what the whole needs of it."""

    hashes: bytes
    roots: dict[int, bytes]
    """Those over whole tiles of them, by the place of their first leaf."""
    entry_ids: str
    """All of them, each as long as the other."""
    contents: int
    dialogues: list[str]


class _Share(NamedTuple):
    opening: Callable[[], AsyncEngine]
    master: MasterKey | None
    begins: range
    end: int
    size: int


class Helpers:
    """The helpers at work; none at all, too."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self._pipes = pipes
        self._next = 0

    async def sound(self) -> Sound | None:
        """Return the next page; None when it has to be checked here."""
        if not self._pipes:
            return None
        pipe = self._pipes[self._next % len(self._pipes)]
        self._next += 1
        try:
            told: Sound | None = await asyncio.to_thread(pipe.recv)
        except (EOFError, OSError):
            return None
        return told


@contextlib.contextmanager
def forked(count: int) -> Iterator[Sequence[Connection]]:
    """Fork processes that wait to help, unless it is one alone; give pipes to them. At the end they are gone.

    Only where no database is open, and no other thread runs: neither can be used on both sides of a fork.
    """
    context, pipes, processes = multiprocessing.get_context("fork"), [], []
    try:
        for _ in range(count if count > 1 else 0):
            here, there = context.Pipe()
            pipes.append(here)
            process = context.Process(target=_help, args=(there, pipes), daemon=True)
            process.start()
            there.close()
            processes.append(process)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def hire(help_: Help | None, master: MasterKey | None, end: int, size: int) -> Helpers:
    """Let the helpers go through the pages of records up to `end`; none of them where that is not worth it."""
    if help_ is None or end < help_.worth:
        return Helpers([])
    count = len(help_.pipes)
    for nth, pipe in enumerate(help_.pipes):
        with contextlib.suppress(OSError):  # it ended: its pages are checked here
            pipe.send(_Share(help_.opening, master, range(nth * PAGE, end, count * PAGE), end, size))
    return Helpers(help_.pipes)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Look seldom for garbage in circles, and only in what is new: pages of rows are many objects, and have none."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(20_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _help(pipe: Connection, others: Sequence[Connection]) -> None:
    """Go through a share, in a process of its own; what cannot be read here is read, or told, by who asked.

    `others` are the ends of the process that asked: while anybody has them open, its end is not seen.
    """
    for other in others:
        other.close()
    expected = (SQLAlchemyError, OSError, EOFError, KeyFileError, KeyboardInterrupt)
    with contextlib.suppress(*expected), seldom_collected():
        asyncio.run(_tell(pipe, pipe.recv()))


async def _tell(pipe: Connection, share: _Share) -> None:
    engine = share.opening()
    try:
        async with opened_source(engine, alone=True) as source:
            helper = _Helper(source, share.master)
            for begin in share.begins:
                pipe.send(await helper.look(begin, min(begin + PAGE, share.end), share.size))
    finally:
        await engine.dispose()


class _Gathered:
    """Takes hashes in order, as `audit.verification.page.Hashes`."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self.roots: dict[int, bytes] = {}

    def add(self, own: bytes, _stated: bytes) -> None:
        self.hashes.append(own)

    def extend(self, hashes: Sequence[bytes], roots: Mapping[int, bytes]) -> None:
        self.hashes.extend(hashes)
        self.roots = dict(roots)

    def gap(self) -> None:
        self.hashes.append(b"")


class _Helper:
    def __init__(self, source: Source, master: MasterKey | None) -> None:
        self._report = Report(lambda _: None)
        self._gathered = _Gathered()
        self._texts = Texts(self._report, source, master)
        self._page = Page(source, self._report, self._gathered, self._texts)

    async def look(self, begin: int, end: int, size: int) -> Sound | None:
        """Return a page in which all is as it must be; None when there is anything else to tell of it."""
        before, contents = (self._report.count, self._texts.missed), self._texts.contents
        self._gathered.hashes, self._gathered.roots = [], {}
        read = await self._page.check(begin, end, size)
        sound = before == (self._report.count, self._texts.missed) and len(read) == end - begin
        if not sound or any(_kind(one) in _TOLD_APART for one in read):
            return None
        ids = [one.brief.entry_id if one.brief else one.whole()["entry_id"] for one in read]
        dialogues = list(self._texts.asked)
        hashes = b"".join(self._gathered.hashes)
        return Sound(hashes, self._gathered.roots, "".join(ids), self._texts.contents - contents, dialogues)


def _kind(read: Read) -> str:
    return read.brief.kind if read.brief is not None else str(read.whole()["kind"])
