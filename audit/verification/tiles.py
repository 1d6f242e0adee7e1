"""The tiles of a database against each other, and where they and the records differ."""

from typing import NamedTuple

from audit.verification.drivers import Values
from audit.verification.source import PAGE, Source
from audit.verify import Report, whole_root

WIDTH = 256
_HASH = 32


class Tiles:
    """The stored tree: a second testimony of every leaf hash, in its order."""

    def __init__(self, report: Report, source: Source) -> None:
        self.roots: dict[int, bytes] = {}
        """The computed roots over whole tiles of leaves that were asked for last, by the place of their first leaf."""
        self._report = report
        self._source = source

    async def leaf_hashes(self, begin: int, end: int, size: int) -> dict[int, bytes]:
        """Return the hashes that whole tiles have for these places (`begin` is a multiple of 256)."""
        rows = await self._source.tiles(0, begin // WIDTH, end // WIDTH)
        found = {row[0]: row for row in rows}
        hashes: dict[int, bytes] = {}
        self.roots = {}
        for position in range(begin // WIDTH, min(end, size) // WIDTH):
            tile = self._checked(0, position, found.get(position))
            hashes.update(zip(range(position * WIDTH, (position + 1) * WIDTH), tile.hashes, strict=False))
            if tile.hashes:
                self.roots[position * WIDTH] = tile.root
        return hashes

    async def check_upper(self, size: int) -> None:
        """Check that every tile above the leaves is made of the roots below it, and that none is there too many."""
        level, counts = 0, {0: size // WIDTH}
        while counts[level] >= WIDTH:
            level += 1
            counts[level] = counts[level - 1] // WIDTH
            await self._check_level(level, counts[level])
        for above, position in await self._source.tiles_beyond(counts):
            self._report.add("tile", f"tile {above}/{position} is there, but no signed tree has it")

    async def _check_level(self, level: int, count: int) -> None:
        for begin in range(0, count, PAGE // WIDTH):
            end = min(count, begin + PAGE // WIDTH)
            rows = {row[0]: row for row in await self._source.tiles(level, begin, end)}
            below = await self._source.tile_roots(level - 1, begin * WIDTH, end * WIDTH)
            roots = {row[0]: row[1] for row in below}
            for position in range(begin, end):
                tile = self._checked(level, position, rows.get(position))
                for at, one in enumerate(tile.hashes):
                    under = position * WIDTH + at
                    if roots.get(under) != one:
                        what = f"tile {level}/{position} does not have the root of tile {level - 1}/{under}"
                        self._report.add("tile", what)

    def _checked(self, level: int, position: int, row: Values | None) -> "_Tile":
        """Return the hashes of a tile and the root over them; none when it cannot be used."""
        if row is None:
            self._report.add("tile", f"tile {level}/{position} is missing")
            return _Tile([], b"")
        hashes, root = row[1], row[2]
        if not isinstance(hashes, bytes) or len(hashes) != WIDTH * _HASH:
            self._report.add("tile", f"tile {level}/{position} does not hold 256 hashes")
            return _Tile([], b"")
        each = [hashes[at : at + _HASH] for at in range(0, len(hashes), _HASH)]
        own = whole_root(each)
        if own != root:
            self._report.add("tile", f"tile {level}/{position} does not have the root that stands beside it")
        return _Tile(each, own)


class _Tile(NamedTuple):
    hashes: list[bytes]
    root: bytes
