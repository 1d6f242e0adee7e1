"""What people are called, by the newest record of each that names them."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.canonical import column
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.tables import AUDIT_ENTRY
from audit.trail import checked_entry

LOOKED_AT = 5
"""Records of a person that are looked at, the newest: all but a few kinds name who did it."""


class PersonNames:
    """Reads names. Raises `AuditUnavailableError`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """`engine` only reads."""
        self._engine = engine

    async def of(self, subjects: Collection[str]) -> dict[str, str]:
        """Return subject → name; who has no name on record is left out."""
        entry = AUDIT_ENTRY.c
        found: dict[str, str] = {}
        try:
            async with self._engine.connect() as connection:
                for subject in subjects:
                    newest = (
                        select(entry.leaf, entry.leaf_hash)
                        .where(entry.subject == column(subject))
                        .order_by(entry.entry_id.desc())
                        .limit(LOOKED_AT)
                    )
                    names = [_name(row.leaf, row.leaf_hash) for row in await connection.execute(newest)]
                    if name := next(filter(None, names), ""):
                        found[subject] = name
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error
        return found


def _name(leaf: bytes, leaf_hash: bytes) -> str:
    try:
        return checked_entry(leaf, leaf_hash).name if leaf else ""  # an empty one was pruned
    except AuditIntegrityError:
        return ""
