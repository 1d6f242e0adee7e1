"""What a step of the sequencer reads and writes, on both databases."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.checkpoint import Checkpoint
from audit.ports import AuditIntegrityError
from audit.tables import AUDIT_CHECKPOINT, AUDIT_ENTRY, AUDIT_TILE
from audit.tiles import Tile

_LOCK = 0x61747465_73740002
"""Number of the advisory lock: 'attest' in ASCII, then 2."""

IDLE_S = 30
"""How long whoever holds that lock may leave the server without a statement, in seconds.

A process that is frozen (a paused machine) holds up everybody else no longer: the server ends its transaction. What is
done between two statements (hashing, signing, a line in a ledger) takes far less; a statement may take longer.
"""


class Waiting(NamedTuple):
    """A record that has no place yet."""

    entry_id: str
    leaf_hash: bytes


async def take_lock(connection: AsyncConnection) -> bool:
    """Be the only one until the transaction ends; on SQLite its beginning has seen to that."""
    if connection.dialect.name == "sqlite":
        return True
    await connection.execute(text("SET LOCAL synchronous_commit = on"))
    await connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s'"))
    return bool((await connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK})).scalar())


async def unsequenced(connection: AsyncConnection, limit: int) -> list[Waiting]:
    """Return the oldest records that have no place."""
    # SQLite would choose another index and sort every waiting record, in each step of a long backlog
    chosen = "INDEXED BY audit_entry_unsequenced" if connection.dialect.name == "sqlite" else ""
    query = f"SELECT entry_id, leaf_hash FROM audit_entry {chosen} WHERE leaf_index IS NULL"  # noqa: S608 - names are ours
    found = await connection.execute(text(f"{query} ORDER BY entry_id LIMIT :limit"), {"limit": limit})
    return [Waiting(row.entry_id, bytes(row.leaf_hash)) for row in found]


async def newest_waiting(connection: AsyncConnection) -> str | None:
    """Return the last id of those that have no place: once that record has one, all that wait now have theirs."""
    chosen = "INDEXED BY audit_entry_unsequenced" if connection.dialect.name == "sqlite" else ""
    query = f"SELECT max(entry_id) FROM audit_entry {chosen} WHERE leaf_index IS NULL"  # noqa: S608 - names are ours
    found: str | None = (await connection.execute(text(query))).scalar()
    return found


async def give_indices(connection: AsyncConnection, rows: Sequence[Waiting], first: int) -> None:
    """Write the places of records. Raises `AuditIntegrityError` when one of them has another by now."""
    if connection.dialect.name == "sqlite":
        entry = AUDIT_ENTRY.c
        change = update(AUDIT_ENTRY).where(entry.entry_id == bindparam("id"), entry.leaf_index.is_(None))
        given = [{"id": row.entry_id, "place": first + at} for at, row in enumerate(rows)]
        done = await connection.execute(change.values(leaf_index=bindparam("place")), given)
    else:
        done = await connection.execute(
            text(
                "UPDATE audit_entry SET leaf_index = given.place"
                " FROM unnest(CAST(:ids AS text[]), CAST(:places AS bigint[])) AS given (id, place)"
                " WHERE entry_id = given.id AND leaf_index IS NULL"
            ),
            {"ids": [row.entry_id for row in rows], "places": list(range(first, first + len(rows)))},
        )
    if done.rowcount != len(rows):
        raise AuditIntegrityError(f"{len(rows)} records should have got places, {done.rowcount} did")


async def store(connection: AsyncConnection, checkpoint: Checkpoint, note: str, tiles: Sequence[Tile]) -> None:
    """Write a signed tree and the tiles that it completed."""
    if tiles:
        await connection.execute(insert(AUDIT_TILE), [tile._asdict() for tile in tiles])
    row = {
        "tree_size": checkpoint.size,
        "root_hash": checkpoint.root_hash,
        "note": note,
        "at_us": time.time_ns() // 1000,
    }
    await connection.execute(insert(AUDIT_CHECKPOINT), row)
