"""What a place outside is: somewhere a signed checkpoint is kept that the database's owner cannot quietly change."""

from typing import Protocol

import msgspec


class AnchorError(Exception):
    """The place did not take the checkpoint; the message says why and holds no secret. Another try may succeed."""


class AnchorConflictError(AnchorError):
    """The place has another checkpoint of the same size: one of the two logs is not the one that was signed."""


class AnchorCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint to be kept."""

    origin: str
    size: int
    root_hash: bytes
    note: str
    """The signed note, exactly."""


class Place(Protocol):
    """One place outside."""

    name: str
    """What it is called in records and in the table `anchor`: the same as long as it is the same place."""

    async def keep(self, checkpoint: AnchorCheckpoint) -> str:
        """Keep a checkpoint, never replacing another; return what proves where it is. May be asked twice for the same.

        Raises `AnchorError`, `AnchorConflictError`.
        """

    async def close(self) -> None:
        """Free what it holds."""
