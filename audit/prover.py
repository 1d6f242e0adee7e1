"""Proofs about the log as it stands in the database: that a record is in it, that a newer tree extends an older one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.checkpoint import Checkpoint
from audit.note import NoteError
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.proof import LogProof
from audit.tables import AUDIT_CHECKPOINT, AUDIT_ENTRY
from audit.tiles import read_nodes
from audit.tree import (
    Node,
    ProofError,
    ReadNode,
    Span,
    consistency_spans,
    inclusion_spans,
    nodes_of,
    path,
    root,
    verify_consistency,
)


class StoredCheckpoint(msgspec.Struct, frozen=True):
    """A row of `audit_checkpoint`."""

    size: int
    root_hash: bytes
    note: str
    at_us: int


class NotInTreeError(Exception):
    """The record has no place in a signed tree yet."""


class Prover:
    """Makes proofs and checks each before it hands it out. Raises `AuditUnavailableError`, `AuditIntegrityError`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def latest(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint."""
        async with self._reading() as connection:
            return await latest_checkpoint(connection)

    async def inclusion(self, entry_id: str) -> LogProof | None:
        """Return the proof that a record is in the newest signed tree; None when there is no such record.

        Of a record that was emptied after its retention the proof is that of its hash, without the leaf.
        Raises `NotInTreeError`.
        """
        async with self._reading() as connection:
            row = (await connection.execute(_entry_and_checkpoint(entry_id))).one_or_none()
            if row is None:
                return None
            if row.leaf_index is None or row.tree_size is None:
                raise NotInTreeError(f"Record {entry_id} is not in a signed tree yet; try again in a moment.")
            last = StoredCheckpoint(row.tree_size, row.root_hash, row.note, row.at_us)
            if row.leaf_index >= last.size:
                raise AuditIntegrityError(f"record {entry_id} has index {row.leaf_index}, beyond the signed tree")
            spans = inclusion_spans(row.leaf_index, last.size)
            read = await read_nodes(connection, _nodes(spans), last.size)
        proof = LogProof(index=row.leaf_index, path=path(spans, read), note=last.note, leaf=row.leaf)
        try:
            proof.check(parsed(last), row.leaf_hash)
        except ProofError as error:
            raise AuditIntegrityError(f"record {entry_id} or the tree was altered: {error}") from None
        return proof

    async def path_of(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the audit path of a record by its index in the tree of `size` records, which must be there."""
        async with self._reading() as connection:
            spans = inclusion_spans(index, size)
            return path(spans, await read_nodes(connection, _nodes(spans), size))

    async def consistency(self, old: StoredCheckpoint, new: StoredCheckpoint) -> tuple[bytes, ...]:
        """Return the proof that the tree of `new` extends that of `old`."""
        async with self._reading() as connection:
            return await prove_consistency(connection, old, new)

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error


def _entry_and_checkpoint(entry_id: str) -> Select[Any]:
    """Ask for a record and the newest checkpoint at once."""
    entry, last = AUDIT_ENTRY.c, AUDIT_CHECKPOINT.c
    newest = select(func.max(last.tree_size)).scalar_subquery()
    query = select(entry.leaf, entry.leaf_hash, entry.leaf_index, last.tree_size, last.root_hash, last.note, last.at_us)
    query = query.select_from(AUDIT_ENTRY.outerjoin(AUDIT_CHECKPOINT, last.tree_size == newest))
    return query.where(entry.entry_id == entry_id)


def _nodes(spans: Iterable[Span]) -> list[Node]:
    return [node for span in spans for node in nodes_of(span)]


async def latest_checkpoint(connection: AsyncConnection) -> StoredCheckpoint | None:
    """Return the newest checkpoint in the database."""
    table = AUDIT_CHECKPOINT.c
    query = select(table.tree_size, table.root_hash, table.note, table.at_us)
    row = (await connection.execute(query.order_by(table.tree_size.desc()).limit(1))).one_or_none()
    return StoredCheckpoint(*row) if row is not None else None


async def tree_root(connection: AsyncConnection, size: int) -> bytes:
    """Return the root over the first `size` records, from what is stored."""
    read = await read_nodes(connection, nodes_of(Span(0, size)), size)
    return await asyncio.to_thread(root, size, read)


async def prove_consistency(
    connection: AsyncConnection, old: StoredCheckpoint, new: StoredCheckpoint
) -> tuple[bytes, ...]:
    """Return a consistency proof that was checked. Raises `AuditIntegrityError` when there is none."""
    try:
        spans = consistency_spans(old.size, new.size)
        read: ReadNode = await read_nodes(connection, _nodes(spans), new.size)
        proof = path(spans, read)
        verify_consistency(old.size, new.size, old.root_hash, new.root_hash, proof)
    except ProofError as error:
        raise AuditIntegrityError(
            f"the tree of {new.size} records does not extend that of {old.size}: {error}"
        ) from None
    return proof


def parsed(stored: StoredCheckpoint) -> Checkpoint:
    """Return what the note of a row says. Raises `AuditIntegrityError` when that is not what the row says."""
    try:
        checkpoint = Checkpoint.parse(stored.note.rpartition("\n\n")[0] + "\n")
    except NoteError as error:
        raise AuditIntegrityError(f"the checkpoint of {stored.size} records was altered: {error}") from None
    if (checkpoint.size, checkpoint.root_hash) != (stored.size, stored.root_hash):
        raise AuditIntegrityError(f"the checkpoint of {stored.size} records is not what its note says")
    return checkpoint
