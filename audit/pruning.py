"""The rows that pruning is about: how they are read, grouped into turns, and emptied."""

from collections.abc import Iterator, Sequence

import msgspec
from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.canonical import entry_of, leaf_hash
from audit.facets import facets_of
from audit.ports import AuditIntegrityError
from audit.record import CLOSING_KINDS, Kind
from audit.tables import AUDIT_CONTENT, AUDIT_ENTRY, AUDIT_FACET, AUDIT_TURN, OUTBOX

TURN_KINDS = CLOSING_KINDS | {Kind.TURN_ACCEPTED, Kind.TURN_RELEASED}
"""Kinds that make up a turn; what was recorded about it later (feedback, reading) is pruned by its own age."""
_PARAMETERS = 500

Record = Row[tuple[str, int, bytes, bytes, str, int, str, str]]


class Turn(msgspec.Struct, frozen=True):
    """What the projection says of a turn."""

    conversation_id: str
    opened_us: int
    verdict: str
    closed: bool


def contiguous(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Return the runs of neighbours among some indices, as (first, last)."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] == index - 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return runs


def records() -> Select[tuple[str, int, bytes, bytes, str, int, str, str]]:
    """Return the query of records, to be narrowed."""
    entry = AUDIT_ENTRY.c
    return select(
        *(entry.entry_id, entry.leaf_index, entry.leaf, entry.leaf_hash),
        *(entry.kind, entry.at_us, entry.subject, entry.turn_id),
    )


def filled() -> ColumnElement[bool]:
    """Return the condition that a record was not pruned."""
    return func.length(AUDIT_ENTRY.c.leaf) > 0


async def of_turns(connection: AsyncConnection, turns: set[str]) -> dict[str, list[Record]]:
    """Return every record that makes up each turn, wherever it stands."""
    whole: dict[str, list[Record]] = {}
    for part in parts(sorted(turns)):
        query = records().where(AUDIT_ENTRY.c.turn_id.in_(part), AUDIT_ENTRY.c.turn_id != "", filled())
        for row in await connection.execute(query):
            if row.kind in TURN_KINDS:
                whole.setdefault(row.turn_id, []).append(row)
    return whole


async def turn_rows(connection: AsyncConnection, turns: set[str]) -> dict[str, Turn]:
    """Return the turns that the projection has, by id."""
    rows: dict[str, Turn] = {}
    for part in parts(sorted(turns)):
        for row in await connection.execute(select(AUDIT_TURN).where(AUDIT_TURN.c.turn_id.in_(part))):
            rows[row.turn_id] = Turn(row.conversation_id, row.opened_us, row.verdict, row.closed_entry is not None)
    return rows


def check_leaves(rows: Sequence[Record]) -> None:
    """Raise `AuditIntegrityError` when a leaf is not the one that was hashed."""
    for row in rows:
        if leaf_hash(row.leaf) != row.leaf_hash:
            raise AuditIntegrityError(f"record {row.entry_id} at index {row.leaf_index} was altered; it is not pruned")


async def empty(connection: AsyncConnection, rows: Sequence[Record]) -> None:
    """Empty the rows, and remove their texts and what turns were found by."""
    turns = {row.turn_id for row in rows if row.kind in TURN_KINDS}
    await _remove_facets(connection, rows)
    for part in parts([row.entry_id for row in rows]):
        await connection.execute(delete(AUDIT_CONTENT).where(AUDIT_CONTENT.c.entry_id.in_(part)))
        await connection.execute(delete(OUTBOX).where(OUTBOX.c.entry_id.in_(part)))
        emptied = update(AUDIT_ENTRY).where(AUDIT_ENTRY.c.entry_id.in_(part))
        await connection.execute(emptied.values(leaf=b"", subject="", turn_id=""))
    for part in parts(sorted(turns)):
        await connection.execute(delete(AUDIT_TURN).where(AUDIT_TURN.c.turn_id.in_(part)))


async def _remove_facets(connection: AsyncConnection, rows: Sequence[Record]) -> None:
    """Remove the facets that the writers made of these records; the table is looked into by its whole key only."""
    opened = {turn: row.opened_us for turn, row in (await turn_rows(connection, {r.turn_id for r in rows})).items()}
    facets = [
        {"b_facet": facet, "b_value": value, "b_opened": opened[row.turn_id], "b_turn": row.turn_id}
        for row in rows
        if row.turn_id in opened and (row.kind in CLOSING_KINDS or row.kind == Kind.TURN_ACCEPTED)
        for facet, value in facets_of(entry_of(row.leaf))
    ]
    table = AUDIT_FACET.c
    if facets:
        await connection.execute(
            delete(AUDIT_FACET).where(
                table.facet == bindparam("b_facet"),
                table.value == bindparam("b_value"),
                table.opened_us == bindparam("b_opened"),
                table.turn_id == bindparam("b_turn"),
            ),
            facets,
        )


def parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list into parts that a statement may have as parameters."""
    return (ids[start : start + _PARAMETERS] for start in range(0, len(ids), _PARAMETERS))
