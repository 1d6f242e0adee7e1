"""One page of a database: every row, column, tile, text and turn in it, against the leaves."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from audit.verification.brief import Read, agrees, brief_of
from audit.verification.drivers import Values
from audit.verification.rows import check_columns, us_of
from audit.verification.source import PAGE, Source
from audit.verification.texts import Texts
from audit.verification.tiles import Tiles
from audit.verification.turns import Turns
from audit.verify import Forms, Leaf, Records, Report, leaf_hash


class Hashes(Protocol):
    """Who takes every record's hashes in order: as `audit.verify.Walk`."""

    def add(self, own: bytes, stated: bytes) -> None:
        """Take the next record's hashes: that of its leaf, and the one that is stated elsewhere for it."""

    def extend(self, hashes: Sequence[bytes], roots: Mapping[int, bytes]) -> None:
        """Take the hashes of several records for which no others are stated, and roots over whole tiles of them."""

    def gap(self) -> None:
        """Pass over a record of which nothing is known."""


class Page:
    """Checks pages, one after the other."""

    def __init__(self, source: Source, report: Report, walk: Hashes, texts: Texts) -> None:
        self._source = source
        self._report = report
        self._walk = walk
        self._forms = Forms(msgspec.json.decode)
        self.records = Records(report, forms=self._forms)
        """What each record is held to by itself."""
        self._tiles = Tiles(report, source)
        self._texts = texts
        self.turns = Turns(report, source)

    async def check(self, begin: int, end: int, size: int) -> list[Read]:
        """Check the records from `begin` up to `end` of a tree of `size`; return those that could be read."""
        rows = await self._source.records(begin, end)
        tiles = await self._tiles.leaf_hashes(begin, begin + PAGE, size)
        read = await self._source.beside(self._check_page, begin, end, rows, tiles)
        await self._texts.check(begin, end, read)
        await self.turns.check(read, pruned=self.records.pruned.any)
        return read

    def _check_page(self, begin: int, end: int, rows: Sequence[Values], tiles: dict[int, bytes]) -> list[Read]:
        """Check rows in their order; return those that could be read."""
        if (hashes := own_hashes(begin, end, rows, tiles)) is not None:
            self._walk.extend(hashes, self._tiles.roots)
            return self._read_all(begin, rows)
        expected, found = begin, []
        for row in rows:
            index = row[0]
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

    def _read_all(self, begin: int, rows: Sequence[Values]) -> list[Read]:
        """Read the records of a page in which every leaf has its hash and place."""
        found: list[Read] = []
        entry_ids: list[str] = []
        for row in rows:
            if (read := self._glance(row)) is not None:
                entry_ids.append(row[1])
                found.append(read)
                continue
            self.records.took(begin, entry_ids)
            begin, entry_ids = row[0] + 1, []
            if (read := self._read(row, Leaf(row[2], row[3]))) is not None:
                found.append(read)
        self.records.took(begin, entry_ids)
        return found

    def _glance(self, row: Values) -> Read | None:
        """Return a record whose leaf has a known form and agrees with the columns; None where there is more to see."""
        leaf = row[2]
        if self._forms.entry_id(leaf) is None or (brief := brief_of(leaf)) is None:
            return None
        at_us = us_of(brief.at)
        return Read(row[0], leaf, brief, at_us) if agrees(row, brief, at_us) else None

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
        if not leaf.data or not self.records.known(index, leaf.data):
            fields = self.records.read(index, leaf)
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


def own_hashes(begin: int, end: int, rows: Sequence[Values], tiles: Mapping[int, bytes]) -> list[bytes] | None:
    """Return the hashes of all leaves from `begin` up to `end` if each has the one that its row and the tree have."""
    if len(rows) != end - begin:
        return None
    hashes = []
    for expected, row in enumerate(rows, begin):
        index, data, stored = row[0], row[2], row[3]
        if index != expected or type(data) is not bytes or not data:
            return None
        own = leaf_hash(data)
        if not own == stored == tiles.get(index, own):
            return None
        hashes.append(own)
    return hashes
