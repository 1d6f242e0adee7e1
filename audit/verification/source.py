"""What the verification of a database reads, in one snapshot and in pages, as raw as the database gives it.

Values are whatever is stored, of whatever type: a database that was tampered with owes nobody the right one.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from audit.verification.drivers import Rows, Values

PAGE = 1024
"""Records at once: four whole tiles, which fit into a processor's cache."""
MOST_NAMED = 10_000
"""Rows of one kind that belong nowhere and are named one by one."""

_ROWS = "SELECT leaf_index, entry_id, leaf, leaf_hash, kind, at_us, subject, turn_id FROM audit_entry"
_SEALED = "t.wrapped_key, t.sealed, k.key_id, k.subject, k.wrapped"
_CONTENTS = (  # no value stands in any of these statements: values are bound
    f"SELECT e.leaf_index, t.ordinal, {_SEALED} FROM audit_entry e"  # noqa: S608
    " JOIN audit_content t ON t.entry_id = e.entry_id LEFT JOIN subject_key k ON k.key_id = t.key_id"
)
_TEXTS = f"SELECT t.text_id, {_SEALED} FROM audit_text t LEFT JOIN subject_key k ON k.key_id = t.key_id"  # noqa: S608
_READABLE = "SELECT 1 FROM audit_text t JOIN subject_key k ON k.key_id = t.key_id WHERE k.wrapped IS NOT NULL"

_TURNS = (
    "SELECT turn_id, opened_us, subject, conversation_id, verdict, opened_entry, closed_entry FROM audit_turn"
    " WHERE turn_id"
)
_FACETS = "SELECT turn_id, facet, value, opened_us FROM audit_facet WHERE turn_id"
_AMONG_IN_SQLITE = " IN (SELECT value FROM json_each(:some))"


class Source:
    """Reads one snapshot."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.beside = rows.beside

    async def records(self, begin: int, end: int) -> list[Values]:
        """Return the rows with these places, in their order."""
        return await self._all(
            f"{_ROWS} WHERE leaf_index >= :begin AND leaf_index < :end ORDER BY leaf_index, entry_id",
            begin=begin,
            end=end,
        )

    async def waiting(self, after: str) -> list[Values]:
        """Return rows that have no place yet, a page in the order of their ids."""
        where = "WHERE leaf_index IS NULL AND entry_id > :after ORDER BY entry_id LIMIT :limit"
        return await self._all(f"{_ROWS} {where}", after=after, limit=PAGE)

    async def beyond(self, end: int) -> list[Values]:
        """Return rows with places that no checkpoint covers."""
        where = "WHERE leaf_index >= :end OR leaf_index < 0 ORDER BY leaf_index LIMIT :limit"
        return await self._all(f"{_ROWS} {where}", end=end, limit=MOST_NAMED)

    async def count(self) -> int:
        """Return how many rows have a place."""
        rows = await self._all("SELECT count(*) FROM audit_entry WHERE leaf_index IS NOT NULL")
        return int(rows[0][0])

    async def tiles(self, level: int, begin: int, end: int) -> list[Values]:
        """Return (position, hashes, root_hash) of tiles."""
        return await self._all(
            "SELECT position, hashes, root_hash FROM audit_tile"
            " WHERE level = :level AND position >= :begin AND position < :end ORDER BY position",
            level=level,
            begin=begin,
            end=end,
        )

    async def tile_roots(self, level: int, begin: int, end: int) -> list[Values]:
        """Return (position, root_hash) of tiles: what the level above is made of, a 250th of the tiles themselves."""
        return await self._all(
            "SELECT position, root_hash FROM audit_tile"
            " WHERE level = :level AND position >= :begin AND position < :end ORDER BY position",
            level=level,
            begin=begin,
            end=end,
        )

    async def tiles_beyond(self, counts: Mapping[int, int]) -> list[Values]:
        """Return (level, position) of tiles that no signed tree has; `counts` are the tiles of each level."""
        fits = " OR ".join(f"(level = {level} AND position < {count})" for level, count in counts.items())
        where = f"NOT (position >= 0 AND ({fits or '1 = 0'}))"
        statement = f"SELECT level, position FROM audit_tile WHERE {where} LIMIT :limit"  # noqa: S608 - numbers of ours
        return await self._all(statement, limit=MOST_NAMED)

    async def checkpoints(self, above: int, up_to: int) -> list[Values]:
        """Return (tree_size, root_hash, note) of checkpoints, rising."""
        return await self._all(
            "SELECT tree_size, root_hash, note FROM audit_checkpoint"
            " WHERE tree_size > :above AND tree_size <= :up_to ORDER BY tree_size",
            above=above,
            up_to=up_to,
        )

    async def newest_checkpoints(self, limit: int = MOST_NAMED) -> list[Values]:
        """Return the newest ones, the newest first: as `checkpoints`."""
        return await self._all(
            "SELECT tree_size, root_hash, note FROM audit_checkpoint ORDER BY tree_size DESC LIMIT :limit", limit=limit
        )

    async def first_checkpoint(self, size: int) -> list[Values]:
        """Return the first one that covers at least so many records: as `checkpoints`."""
        return await self._all(
            "SELECT tree_size, root_hash, note FROM audit_checkpoint WHERE tree_size >= :size"
            " ORDER BY tree_size LIMIT 1",
            size=size,
        )

    async def contents(self, begin: int, end: int) -> list[Values]:
        """Return (leaf_index, ordinal, wrapped_key, sealed, key_id, subject, wrapped) of the texts of records."""
        where = "WHERE e.leaf_index >= :begin AND e.leaf_index < :end ORDER BY e.leaf_index, t.ordinal"
        return await self._all(f"{_CONTENTS} {where}", begin=begin, end=end)

    async def contents_of(self, indices: Sequence[int]) -> list[Values]:
        """Return the texts of these records, as `contents`."""
        return await self._among(f"{_CONTENTS} WHERE e.leaf_index", indices)

    async def emptied(self, indices: Sequence[int]) -> list[Values]:
        """Return (leaf_index,) of those of these records of which only the hash is left."""
        return await self._among("SELECT leaf_index FROM audit_entry WHERE length(leaf) = 0 AND leaf_index", indices)

    async def left_of(self, subject: str, before: int, before_us: int) -> list[Values]:
        """Return (leaf_index,) of a person's records, before a place and a time, that have a text with its key."""
        return await self._all(
            "SELECT DISTINCT e.leaf_index FROM audit_entry e JOIN audit_content t ON t.entry_id = e.entry_id"
            " JOIN subject_key k ON k.key_id = t.key_id WHERE e.subject = :subject AND e.leaf_index < :before"
            " AND e.at_us < :before_us AND k.wrapped IS NOT NULL ORDER BY e.leaf_index LIMIT :limit",
            subject=subject,
            before=before,
            before_us=before_us,
            limit=MOST_NAMED,
        )

    async def has_dialogues_left(self, subject: str, before_us: int) -> bool:
        """Whether there are dialogue texts of a person under a key that was made before a time, and is there."""
        return bool(
            await self._all(
                "SELECT 1 FROM subject_key k WHERE k.subject = :subject AND k.created_us < :before_us"
                " AND k.wrapped IS NOT NULL AND EXISTS (SELECT 1 FROM audit_text t WHERE t.key_id = k.key_id) LIMIT 1",
                subject=subject,
                before_us=before_us,
            )
        )

    async def leaves_before(self, subject: str, before: int, before_us: int, after: str) -> list[Values]:
        """Return (entry_id, leaf) of a person's records before a place and a time, a page in the order of their ids."""
        return await self._all(
            "SELECT entry_id, leaf FROM audit_entry WHERE subject = :subject AND entry_id > :after"
            " AND leaf_index < :before AND at_us < :before_us ORDER BY entry_id LIMIT :limit",
            subject=subject,
            after=after,
            before=before,
            before_us=before_us,
            limit=PAGE,
        )

    async def has_readable(self, text_ids: Sequence[str]) -> bool:
        """Whether any of these dialogue texts is there under a key that is there."""
        return bool(await self._among(f"{_READABLE} AND t.text_id", text_ids))

    async def texts(self, text_ids: Sequence[str]) -> list[Values]:
        """Return (text_id, wrapped_key, sealed, key_id, subject, wrapped) of dialogue texts."""
        return await self._among(f"{_TEXTS} WHERE t.text_id", text_ids)

    async def turns(self, turn_ids: Sequence[str]) -> list[Values]:
        """Return (turn_id, opened_us, subject, conversation_id, verdict, opened_entry, closed_entry) of turns."""
        return await self._among(_TURNS, turn_ids)

    async def facets(self, turn_ids: Sequence[str]) -> list[Values]:
        """Return (turn_id, facet, value, opened_us) of what turns are searched by."""
        return await self._among(_FACETS, turn_ids)

    async def turns_at_once(self, turn_ids: Sequence[str]) -> list[Values]:
        """Return what `turns` returns, quicker where these turns lie together; a row may be wanting."""
        return await self._near(_TURNS, turn_ids, "turn_id", 2 * len(turn_ids))

    async def facets_at_once(self, turn_ids: Sequence[str], expected: int) -> list[Values]:
        """Return what `facets` returns, in order where these turns lie together; a row may be wanting."""
        return await self._near(_FACETS, turn_ids, "turn_id, facet, value", 2 * expected)

    async def unopened_turns(self) -> list[Values]:
        """Return (turn_id, opened_entry) of turns in the list that no record opened: some of them."""
        return await self._all(
            "SELECT t.turn_id, t.opened_entry FROM audit_turn t WHERE NOT EXISTS (SELECT 1 FROM audit_entry e"
            " WHERE e.entry_id = t.opened_entry AND e.turn_id = t.turn_id"
            " AND e.kind IN ('turn.accepted', 'turn.refused')) ORDER BY t.turn_id LIMIT :limit",
            limit=MOST_NAMED,
        )

    async def facets_of_no_turn(self) -> list[Values]:
        """Return (turn_id,) of what turns are searched by where there is no such turn: some of them."""
        return await self._all(
            "SELECT DISTINCT f.turn_id FROM audit_facet f"
            " WHERE NOT EXISTS (SELECT 1 FROM audit_turn t WHERE t.turn_id = f.turn_id)"
            " ORDER BY f.turn_id LIMIT :limit",
            limit=MOST_NAMED,
        )

    async def leaves_of(self, turn_id: str) -> list[bytes]:
        """Return the leaves of a turn."""
        rows = await self._all("SELECT leaf FROM audit_entry WHERE turn_id = :turn AND turn_id <> ''", turn=turn_id)
        return [row[0] for row in rows if isinstance(row[0], bytes)]

    async def turn_and_kind(self, entry_id: str) -> tuple[str | None, str | None]:
        """Return the turn of a record, and its kind; None where there is no such record."""
        rows = await self._all("SELECT turn_id, kind FROM audit_entry WHERE entry_id = :entry_id", entry_id=entry_id)
        return (rows[0][0], rows[0][1]) if rows else (None, None)

    async def records_of(self, indices: Sequence[int]) -> list[Values]:
        """Return the rows with these places, as `records`, in no order."""
        return await self._among(f"{_ROWS} WHERE leaf_index", indices)

    async def of_kind(self, kind: str, below: int) -> list[Values]:
        """Return the rows of a kind that have a place below this, in their order."""
        where = "WHERE kind = :kind AND leaf_index < :below ORDER BY leaf_index"
        return await self._all(f"{_ROWS} {where}", kind=kind, below=below)

    async def anchored(self, limit: int) -> tuple[int, ...]:
        """Return the sizes of the newest checkpoints that were copied outside."""
        rows = await self._all(
            "SELECT DISTINCT tree_size FROM anchor ORDER BY tree_size DESC LIMIT :limit", limit=limit
        )
        return tuple(row[0] for row in rows)

    async def master_keys(self) -> frozenset[str]:
        """Return which master keys wrap the keys of people."""
        rows = await self._all("SELECT DISTINCT master_key FROM subject_key WHERE wrapped IS NOT NULL")
        return frozenset(str(row[0]) for row in rows)

    async def is_waiting(self, kind: str) -> bool:
        """Whether a record of this kind has no place yet."""
        statement = "SELECT 1 FROM audit_entry WHERE leaf_index IS NULL AND kind = :kind LIMIT 1"
        return bool(await self._all(statement, kind=kind))

    async def _among(self, statement: str, values: Sequence[str] | Sequence[int]) -> list[Values]:
        """Return the rows whose last named column is one of some values: one bound value, however many they are."""
        if not values:
            return []
        if self._rows.sqlite:
            return await self._all(statement + _AMONG_IN_SQLITE, some=json.dumps(values))
        return await self._all(f"{statement} = ANY(:some)", some=list(values))

    async def _near(self, statement: str, turn_ids: Sequence[str], order: str, most: int) -> list[Values]:
        """Return the rows of turns by one stretch of the index, half the time of a search for each.

        Ids rise with time, so that little else lies between those of a page; where there is much, they are searched
        for. A database that sorts otherwise than Python may leave out rows at the ends.
        """
        if not turn_ids:
            return []
        limit = most + PAGE
        stretch = f"{statement} BETWEEN :first AND :last ORDER BY {order} LIMIT :limit"
        rows = await self._all(stretch, first=min(turn_ids), last=max(turn_ids), limit=limit)
        if len(rows) == limit:
            return await self._among(statement, turn_ids)
        wanted = set(turn_ids)
        return [row for row in rows if row[0] in wanted]

    async def _all(self, statement: str, **values: Any) -> list[Values]:
        return await self._rows.all(statement, values)
