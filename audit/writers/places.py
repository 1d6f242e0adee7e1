"""Which processes write to a SQLite file: each holds a lock on a file of its own beside it, freed at its end."""

import contextlib
import fcntl
import glob
import os
import time
from pathlib import Path
from typing import Self

_TRIES = 50
_PAUSE_S = 0.02


class Place:
    """A writer's locked file."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def take(cls, path: Path) -> Self:
        """Lock a writer's file until `leave` or the end of the process. Raises `BlockingIOError` when it is held."""
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), path.stat()):
                        return cls(path, handle)
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # somebody removed the file before we had its lock: it would be nobody's place

    @classmethod
    def take_own(cls, database: Path, writer_id: str) -> Self:
        """Remove the files of processes that were killed, then take our own. Blocks; raises `OSError`."""
        for path in database.parent.glob(f"{glob.escape(database.name)}-writer-*"):
            with contextlib.suppress(OSError):
                cls.take(path).leave()
        for _ in range(_TRIES):
            try:
                return cls.take(place_of(database, writer_id))
            except BlockingIOError:  # somebody who starts too is just looking whether we live
                time.sleep(_PAUSE_S)
        return cls.take(place_of(database, writer_id))

    def leave(self) -> None:
        """Remove the file and free the lock."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def place_of(database: Path, writer_id: str) -> Path:
    """Return the file of a writer."""
    return database.with_name(f"{database.name}-writer-{writer_id}")
