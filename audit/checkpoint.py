"""Checkpoints: what is signed about a tree (C2SP tlog-checkpoint): its origin, its size, its root."""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Self

import msgspec

from audit.note import NoteError, PublicKey, Signer, open_note, sign
from audit.tree import HASH_BYTES

_SIZE = re.compile("0|[1-9][0-9]{0,18}")
_LINES = 3


class Checkpoint(msgspec.Struct, frozen=True):
    """A tree at one size."""

    origin: str
    """Which log: the name that its keys carry too."""
    size: int
    root_hash: bytes

    def text(self) -> str:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root_hash).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what was signed; lines beyond the third are passed over. Raises `NoteError`."""
        lines = text.split("\n")
        if len(lines) <= _LINES or lines[-1] or not all(lines[:-1]):
            raise NoteError("A checkpoint has an origin, a size and a root, one a line.")
        origin, size, written = lines[:_LINES]
        if not _SIZE.fullmatch(size):
            raise NoteError("The size of a checkpoint is not a number.")
        try:
            root_hash = base64.b64decode(written, validate=True)
        except (binascii.Error, ValueError):
            root_hash = b""
        if len(root_hash) != HASH_BYTES or base64.b64encode(root_hash).decode() != written:
            raise NoteError("The root of a checkpoint is not a hash.")
        return cls(origin, int(size), root_hash)


def signed(checkpoint: Checkpoint, signers: Sequence[Signer]) -> str:
    """Return the checkpoint as a note. Raises `NoteError`."""
    return sign(checkpoint.text(), signers)


def opened(note: str, origin: str, keys: Iterable[PublicKey]) -> Checkpoint:
    """Return the checkpoint of a note that one of these keys has signed for this origin. Raises `NoteError`."""
    checkpoint = Checkpoint.parse(open_note(note, keys).text)
    if checkpoint.origin != origin:
        raise NoteError(f"The checkpoint is one of {checkpoint.origin}, not of {origin}.")
    return checkpoint
