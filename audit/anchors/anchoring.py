"""Copies the newest checkpoint to every place outside, now and then; what was kept is on record.

A checkpoint goes out only when the log grew by something else than the records of anchoring, so an idle log is at rest.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import exists, func, insert, select

from audit.anchors.ports import AnchorCheckpoint, AnchorError, Place
from audit.governing import Governor, moment, now_us
from audit.prover import StoredCheckpoint, latest_checkpoint, parsed
from audit.record import Entry, Kind
from audit.tables import ANCHOR, AUDIT_ENTRY


class Anchored(msgspec.Struct, frozen=True):
    """A checkpoint that stands outside."""

    place: str
    tree_size: int
    at_us: int
    receipt: str


class AnchorState(msgspec.Struct, frozen=True):
    """How anchoring is, for metrics."""

    kept_us: int = 0
    """When every place had the newest checkpoint; microseconds since 1970, 0 while that was not so."""
    failures: int = 0
    """Places that failed at the last try."""


class Anchoring:
    """Runs by itself, or when asked."""

    def __init__(
        self,
        governor: Governor,
        places: Sequence[Place],
        interval_s: float = 3600.0,
        on_fault: Callable[[Exception], None] | None = None,
    ) -> None:
        self.places = tuple(places)
        self.state = AnchorState()
        self._governor = governor
        self._interval_s = interval_s
        self._on_fault = on_fault or (lambda _: None)

    async def run(self) -> None:
        """Anchor until cancelled; a place that fails is tried again a minute later at the latest."""
        while True:
            failed = await self._try()
            self.state = AnchorState(self.state.kept_us if failed else now_us(), failed)
            await asyncio.sleep(min(60.0, self._interval_s) if failed else self._interval_s)

    async def _try(self) -> int:
        """Anchor once; return how many places failed."""
        try:
            _, errors = await self.anchor()
        except Exception as error:  # noqa: BLE001 - the next round tries again
            self._on_fault(error)
            return len(self.places)
        for failure in errors:
            self._on_fault(failure)
        return len(errors)

    async def anchor(self, *, again: bool = False) -> tuple[tuple[Anchored, ...], tuple[AnchorError, ...]]:
        """Copy the newest checkpoint where it is not yet; return what was kept and what failed.

        With `again` also when only records of anchoring were added. Raises `AuditUnavailableError`,
        `AuditIntegrityError`.
        """
        async with self._governor.reading() as connection:
            latest = await latest_checkpoint(connection)
        if latest is None:
            return (), ()
        due = [place for place in self.places if again or await self._due(place.name, latest.size)]
        results = await asyncio.gather(*(self._keep(place, latest) for place in due))
        kept = tuple(one for one in results if isinstance(one, Anchored))
        return kept, tuple(one for one in results if isinstance(one, AnchorError))

    async def listed(self) -> tuple[Anchored, ...]:
        """Return the newest checkpoint of each place that ever had one."""
        newest = select(ANCHOR.c.place, func.max(ANCHOR.c.tree_size).label("size")).group_by(ANCHOR.c.place).subquery()
        query = select(ANCHOR).join(newest, (newest.c.place == ANCHOR.c.place) & (newest.c.size == ANCHOR.c.tree_size))
        async with self._governor.reading() as connection:
            return tuple(Anchored(**row._mapping) for row in await connection.execute(query.order_by(ANCHOR.c.place)))  # noqa: SLF001 - SQLAlchemy's public accessor

    async def close(self) -> None:
        """Close the places."""
        for place in self.places:
            await place.close()

    async def _due(self, place: str, size: int) -> bool:
        entry = AUDIT_ENTRY.c
        last = select(func.coalesce(func.max(ANCHOR.c.tree_size), 0)).where(ANCHOR.c.place == place)
        async with self._governor.reading() as connection:
            anchored = int((await connection.execute(last)).scalar_one())
            new = exists().where(
                entry.leaf_index >= anchored, entry.leaf_index < size, entry.kind != Kind.CHECKPOINT_ANCHORED
            )
            return bool((await connection.execute(select(new))).scalar())

    async def _keep(self, place: Place, latest: StoredCheckpoint) -> Anchored | AnchorError:
        checkpoint = parsed(latest)
        given = AnchorCheckpoint(checkpoint.origin, latest.size, latest.root_hash, latest.note)
        try:
            receipt = await place.keep(given)
        except AnchorError as error:
            return error
        anchored = Anchored(place.name, latest.size, now_us(), receipt)
        await self._save(anchored, latest.root_hash)
        return anchored

    async def _save(self, anchored: Anchored, root_hash: bytes) -> None:
        there = exists().where(ANCHOR.c.place == anchored.place, ANCHOR.c.tree_size == anchored.tree_size)
        async with self._governor.transaction() as connection:
            if (await connection.execute(select(there))).scalar():
                return  # another gateway was faster
            await connection.execute(insert(ANCHOR).values(**msgspec.structs.asdict(anchored)))
            detail: dict[str, str | int | float | bool] = {
                "place": anchored.place,
                "tree_size": anchored.tree_size,
                "root_hash": root_hash.hex(),
                "receipt": anchored.receipt,
            }
            entry = Entry(kind=Kind.CHECKPOINT_ANCHORED, at=moment(anchored.at_us), subject="attest", detail=detail)
            await self._governor.record(connection, entry)
