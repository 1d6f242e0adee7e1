"""What people are called, by the newest record of each that names them."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from sqlalchemy import CompoundSelect, literal, select, union_all
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.canonical import column
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.tables import AUDIT_ENTRY
from audit.trail import checked_entry

LOOKED_AT = 5
"""Records of a person that are looked at, the newest: all but a few kinds name who did it."""
AT_ONCE = 50
"""People of one statement."""


class PersonNames:
    """Reads names. Raises `AuditUnavailableError`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """`engine` only reads."""
        self._engine = engine

    async def of(self, subjects: Collection[str]) -> dict[str, str]:
        """Return subject → name; who has no name on record is left out."""
        several = list(subjects)
        found: dict[str, str] = {}
        try:
            async with self._engine.connect() as connection:
                for begin in range(0, len(several), AT_ONCE):
                    part = several[begin : begin + AT_ONCE]
                    by_person = defaultdict(list)
                    for row in await connection.execute(_newest(part)):
                        by_person[part[row.nth]].append(row)
                    for subject, rows in by_person.items():
                        rows.sort(key=lambda row: row.entry_id, reverse=True)
                        if name := next(filter(None, (_name(row.leaf, row.leaf_hash) for row in rows)), ""):
                            found[subject] = name
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error
        return found


def _newest(subjects: Sequence[str]) -> CompoundSelect[tuple[int, str, bytes, bytes]]:
    """Select the newest records of each person: one way to the server for all, one short search of the index each."""
    entry = AUDIT_ENTRY.c
    return union_all(
        *(
            select(
                select(literal(nth).label("nth"), entry.entry_id, entry.leaf, entry.leaf_hash)
                .where(entry.subject == column(subject))
                .order_by(entry.entry_id.desc())
                .limit(LOOKED_AT)
                .subquery()
            )
            for nth, subject in enumerate(subjects)
        )
    )


def _name(leaf: bytes, leaf_hash: bytes) -> str:
    try:
        return checked_entry(leaf, leaf_hash).name if leaf else ""  # an empty one was pruned
    except AuditIntegrityError:
        return ""
