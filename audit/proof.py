"""A proof that one record is in the log, as one text that can be checked offline (C2SP tlog-proof)."""

import base64
import binascii
import re
from typing import Self

import msgspec

from audit.canonical import leaf_hash
from audit.checkpoint import Checkpoint
from audit.tree import HASH_BYTES, verify_inclusion

_HEAD = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_EXTRA = "extra "
_MOST_HASHES = 63


class ProofFormatError(ValueError):
    """A text is not a proof."""


class LogProof(msgspec.Struct, frozen=True):
    """Where a record is, what leads from it to the root, and the signed root."""

    index: int
    path: tuple[bytes, ...]
    note: str
    """The checkpoint, signed."""
    leaf: bytes = b""
    """The record's exact bytes, in the proof's `extra` line: with them the proof needs nothing beside it.

    Empty once the record was emptied after its retention: then the proof is for whoever has kept the bytes.
    """

    def check(self, checkpoint: Checkpoint, digest: bytes = b"") -> None:
        """Check that the leaf is in the tree of `checkpoint`, which is what the note says once its signature is.

        `digest` is the leaf hash, where the proof has no leaf. Raises `audit.tree.ProofError`.
        """
        digest = leaf_hash(self.leaf) if self.leaf or not digest else digest
        verify_inclusion(self.index, checkpoint.size, digest, checkpoint.root_hash, self.path)

    def text(self) -> str:
        """Return the proof as it is handed out."""
        lines = [_HEAD]
        if self.leaf:
            lines.append(_EXTRA + base64.b64encode(self.leaf).decode())
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(hash_).decode() for hash_ in self.path]
        return "\n".join(lines) + f"\n\n{self.note}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a proof as `text` writes it. Raises `ProofFormatError`."""
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != _HEAD or not lines:
            raise ProofFormatError(f"A proof begins with {_HEAD} and ends in a checkpoint.")
        leaf = _bytes(lines.pop(0).removeprefix(_EXTRA)) if lines[0].startswith(_EXTRA) else b""
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        path = tuple(_bytes(line) for line in lines)
        if index is None or len(path) > _MOST_HASHES or any(len(one) != HASH_BYTES for one in path):
            raise ProofFormatError("A proof has an index and then hashes, one a line.")
        return cls(index=int(index[1]), path=path, note=note, leaf=leaf)


def _bytes(written: str) -> bytes:
    try:
        found = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        raise ProofFormatError("A line of the proof is not base64.") from None
    if base64.b64encode(found).decode() != written:
        raise ProofFormatError("A line of the proof is not written in the one right way.")
    return found
