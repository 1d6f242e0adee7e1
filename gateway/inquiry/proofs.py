"""Whether records stand in the signed tree, and in the tree that was last anchored outside."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.checkpoint import Checkpoint, opened
from audit.note import NoteError
from audit.ports import AuditIntegrityError
from audit.prover import NotInTreeError, Prover
from audit.signing import Signers, SigningKeyError, SigningKeys
from audit.tables import ANCHOR, AUDIT_CHECKPOINT, AUDIT_ENTRY
from audit.tree import ProofError, verify_inclusion


class Standing(StrEnum):
    """Where a record stands."""

    WAITING = "waiting"
    """It has no place in a signed tree yet: that takes about a second."""
    SIGNED = "signed"
    """Its proof verifies against the newest signed checkpoint; none that holds it stands outside yet."""
    ANCHORED = "anchored"
    """Its proof verifies against the newest checkpoint that stands outside."""
    BROKEN = "broken"
    """Its proof does not verify: the record, the tree or a checkpoint was altered."""


class Proved(msgspec.Struct, frozen=True):
    """What was proved of one record."""

    standing: Standing
    index: int | None = None
    size: int = 0
    """Size of the tree that it was proved in."""


class Proofs:
    """Proves records one by one. Raises `AuditUnavailableError`."""

    def __init__(self, engine: AsyncEngine, keys: SigningKeys) -> None:
        self._engine = engine
        self._keys = keys
        self._prover = Prover(engine)

    async def of(self, entry_ids: Sequence[str]) -> dict[str, Proved]:
        """Return what can be proved of records, by their id."""
        try:
            signers = await asyncio.to_thread(self._keys.load)
            anchored = await self._anchored(signers)
        except (SigningKeyError, NoteError):
            return dict.fromkeys(entry_ids, Proved(Standing.BROKEN))
        return {entry_id: await self._prove(entry_id, anchored, signers) for entry_id in entry_ids}

    async def _prove(self, entry_id: str, anchored: Checkpoint | None, signers: Signers) -> Proved:
        try:
            proof = await self._prover.inclusion(entry_id)
        except NotInTreeError:
            return Proved(Standing.WAITING)
        except AuditIntegrityError:
            return Proved(Standing.BROKEN)
        if proof is None:
            return Proved(Standing.BROKEN)
        try:
            signed = opened(proof.note, signers.origin, signers.known)
            if anchored is None or proof.index >= anchored.size:
                return Proved(Standing.SIGNED, proof.index, signed.size)
            path = await self._prover.path_of(proof.index, anchored.size)
            digest = await self._hash(entry_id)
            verify_inclusion(proof.index, anchored.size, digest, anchored.root_hash, path)
        except (NoteError, ProofError):
            return Proved(Standing.BROKEN, proof.index)
        return Proved(Standing.ANCHORED, proof.index, anchored.size)

    async def _anchored(self, signers: Signers) -> Checkpoint | None:
        """Return the newest checkpoint that stands outside, its signature checked; None where nothing is anchored."""
        query = (
            select(AUDIT_CHECKPOINT.c.note)
            .join(ANCHOR, ANCHOR.c.tree_size == AUDIT_CHECKPOINT.c.tree_size)
            .order_by(AUDIT_CHECKPOINT.c.tree_size.desc())
            .limit(1)
        )
        async with self._engine.connect() as connection:
            note = (await connection.execute(query)).scalar()
        return opened(note, signers.origin, signers.known) if note else None

    async def _hash(self, entry_id: str) -> bytes:
        query = select(AUDIT_ENTRY.c.leaf_hash).where(AUDIT_ENTRY.c.entry_id == entry_id)
        async with self._engine.connect() as connection:
            return bytes((await connection.execute(query)).scalar_one())
