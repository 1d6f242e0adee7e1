"""An officer's saved searches: a name and the query, encrypted, for nobody else."""

import msgspec
from sqlalchemy import delete, func, insert, select

from audit.governing import GoverningError, Governor, UnknownError, now_us
from gateway.cases.tables import SAVED_SEARCH
from gateway.console.sealed import Sealer

LONGEST_NAME = 80
MOST = 50
"""Saved searches that one officer may have."""


class SavedSearch(msgspec.Struct, frozen=True):
    """One of them; `query` are the values of the search page by their names."""

    search_id: str
    name: str
    query: dict[str, str]


class SavedSearches:
    """Keeps and forgets them. Raises `GoverningError`, `AuditUnavailableError`."""

    def __init__(self, governor: Governor, sealer: Sealer) -> None:
        self._governor = governor
        self._sealer = sealer

    async def save(self, owner: str, name: str, query: dict[str, str]) -> None:
        """Keep a search under a name."""
        name = name.strip()
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
            raise GoverningError(f"A name has 1 to {LONGEST_NAME} plain characters.")
        sealed = self._sealer.seal(owner, "search", msgspec.json.encode(query).decode()).encode()
        async with self._governor.transaction() as connection:
            mine = select(func.count()).select_from(SAVED_SEARCH).where(SAVED_SEARCH.c.owner == owner)
            if (await connection.execute(mine)).scalar_one() >= MOST:
                raise GoverningError(f"At most {MOST} searches are kept; forget one first.")
            values = {"search_id": self._governor.new_id(), "owner": owner, "name": name, "sealed": sealed}
            await connection.execute(insert(SAVED_SEARCH).values(**values, at_us=now_us()))

    async def forget(self, owner: str, search_id: str) -> None:
        """Forget one of one's own. Raises `UnknownError` where it is not."""
        mine = (SAVED_SEARCH.c.owner == owner, SAVED_SEARCH.c.search_id == search_id)
        async with self._governor.transaction() as connection:
            if not (await connection.execute(delete(SAVED_SEARCH).where(*mine))).rowcount:
                raise UnknownError("There is no such search.")

    async def listed(self, owner: str) -> tuple[SavedSearch, ...]:
        """Return an officer's searches, oldest first."""
        query = select(SAVED_SEARCH).where(SAVED_SEARCH.c.owner == owner).order_by(SAVED_SEARCH.c.search_id)
        async with self._governor.reading() as connection:
            rows = (await connection.execute(query)).all()
        found = []
        for row in rows:
            opened = self._sealer.open(owner, "search", row.sealed.decode())
            if opened:
                found.append(SavedSearch(row.search_id, row.name, msgspec.json.decode(opened, type=dict[str, str])))
        return tuple(found)
