"""One page of a database: every row, column, tile, text and turn in it, against the leaves."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from audit.verification.brief import Read, agrees, brief_of
from audit.verification.rows import check_columns, us_of
from audit.verification.source import PAGE, Source, Values
from audit.verification.texts import Texts
from audit.verification.tiles import Tiles
from audit.verification.turns import Turns
from audit.verify import Leaf, Records, Report, leaf_hash


class Hashes(Protocol):
    """Who takes every record's hashes in order: as `audit.verify.Walk`."""

    def add(self, own: bytes, stated: bytes) -> None:
        """Take the next record's hashes: that of its leaf, and the one that is stated elsewhere for it."""

    def gap(self) -> None:
        """Pass over a record of which nothing is known."""


class Page:
    """Checks pages, one after the other."""

    def __init__(self, source: Source, report: Report, walk: Hashes, records: Records, texts: Texts) -> None:
        self._source = source
        self._report = report
        self._walk = walk
        self._records = records
        self._tiles = Tiles(report, source)
        self._texts = texts
        self._turns = Turns(report, source)

    async def check(self, begin: int, end: int, size: int) -> list[Read]:
        """Check the records from `begin` up to `end` of a tree of `size`; return those that could be read."""
        rows = await self._source.records(begin, end)
        tiles = await self._tiles.leaf_hashes(begin, begin + PAGE, size)
        read = await asyncio.to_thread(self._check_page, begin, end, rows, tiles)
        await self._texts.check(begin, end, read)
        await self._turns.check(read, pruned=self._records.pruned.any)
        return read

    def _check_page(self, begin: int, end: int, rows: Sequence[Values], tiles: dict[int, bytes]) -> list[Read]:
        """Check rows in their order; return those that could be read."""
        expected, found = begin, []
        for row in rows:
            index, _, data, stored = row[:4]
            if index == expected and type(data) is bytes and data and self._is_own(index, data, stored, tiles):
                expected += 1
                if (read := self._read(row, Leaf(data, stored))) is not None:
                    found.append(read)
                continue
            if index < expected:
                self._report.add("duplicate", "another row has its place too", index)
                continue
            if index > expected:
                self._missing(expected, index, tiles)
            expected = index + 1
            if (read := self._check_row(row, tiles)) is not None:
                found.append(read)
        self._missing(expected, end, tiles)
        return found

    def _is_own(self, index: int, data: bytes, stored: object, tiles: dict[int, bytes]) -> bool:
        """Whether a leaf has the hash that its row and the tree have; then the hash is taken."""
        own = leaf_hash(data)
        if not own == stored == tiles.get(index, own):
            return False
        self._walk.add(own, own)
        return True

    def _check_row(self, row: Values, tiles: dict[int, bytes]) -> Read | None:
        index, _, data, stored = row[:4]
        if not isinstance(data, bytes) or not isinstance(stored, bytes):
            self._report.add("altered", "its leaf or hash is not stored as bytes", index)
            data, stored = b"", stored if isinstance(stored, bytes) else b""
        own = leaf_hash(data) if data else stored
        stated = tiles.get(index, stored)
        if own != stored:
            what = f"its leaf is not the one that was logged: hash {own.hex()} instead of {stored.hex()}"
            self._report.add("altered", what, index)
        elif own != stated:
            elsewhere = own in tiles.values()
            what = "another record is in its place" if elsewhere else "it is not the one that was logged"
            what += f": hash {own.hex()} instead of {stated.hex()}"
            self._report.add("reordered" if elsewhere else "altered", what, index)
        self._walk.add(own, stated)
        return self._read(row, Leaf(data, own))

    def _read(self, row: Values, leaf: Leaf) -> Read | None:
        """Read a record and compare its columns: what has a known form and agrees with them need not be read whole."""
        index, fields = row[0], None
        if not leaf.data or not self._records.known(index, leaf.data):
            fields = self._records.read(index, leaf)
            if fields is None:
                return None
        brief = brief_of(leaf.data)
        if brief is not None and agrees(row, brief, at_us := us_of(brief.at)):
            return Read(index, leaf.data, brief, at_us)
        read = Read(index, leaf.data, fields=fields)
        check_columns(self._report, row, read.whole(), index)
        return read

    def _missing(self, begin: int, end: int, tiles: dict[int, bytes]) -> None:
        if begin < end:
            self._report.add("missing", "it is not in the database", begin, end - 1)
        for index in range(begin, end):
            if index in tiles:
                self._walk.add(tiles[index], tiles[index])
            else:
                self._walk.gap()
