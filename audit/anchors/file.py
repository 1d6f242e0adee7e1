"""A folder on another mount: one file for each checkpoint, made once, on the disk before it counts."""

import asyncio
import contextlib
import os
from pathlib import Path

from audit import files
from audit.anchors.ports import AnchorCheckpoint, AnchorConflictError, AnchorError

_READ_ONLY = 0o444
_DIGITS = 20


class FolderPlace:
    """Implements `audit.anchors.ports.Place`. The folder must be there: a mount that is missing is not made up for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = f"folder:{folder}"

    async def keep(self, checkpoint: AnchorCheckpoint) -> str:
        """Write `SIZE.checkpoint`; a file that is there already with the same bytes counts."""
        return await asyncio.to_thread(self._keep, checkpoint)

    async def close(self) -> None:
        """Nothing is held."""

    def _keep(self, checkpoint: AnchorCheckpoint) -> str:
        if not self._folder.is_dir():
            raise AnchorError(f"There is no folder {self._folder}: is it mounted?")
        path, note = self._folder / f"{checkpoint.size:0{_DIGITS}}.checkpoint", checkpoint.note.encode()
        try:
            if not path.exists():
                with contextlib.suppress(FileExistsError):  # another gateway was faster
                    files.create(path, note, _READ_ONLY)
            if path.read_bytes() != note:
                raise AnchorConflictError(f"{path} holds another checkpoint of {checkpoint.size} records.")
        except OSError as error:
            raise AnchorError(
                f"The folder {self._folder} cannot be written: {os.strerror(error.errno or 0)}."
            ) from None
        return str(path)
