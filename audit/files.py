"""Small files that must be whole, durable and, where they hold keys, for their owner alone."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LARGEST = 65_536
PRIVATE = 0o600
PUBLIC = 0o644


class OpenToOthersError(Exception):
    """A file that holds a key can be read by others."""


def create(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Make a file that is whole and durable before it has its name; its folder is made when there is none.

    Raises `FileExistsError` when it is there already, also when another process was faster; `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _draft(path, data, mode) as draft:
        os.link(draft, path)  # never replaces a file
    _sync_folder(path.parent)


def replace(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Give a file other content, whole and durably: a reader sees the old or the new. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _draft(path, data, mode) as draft:
        draft.replace(path)
    _sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """Read a file that holds a key. Raises `OpenToOthersError` when others may read it; `OSError`."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if os.fstat(file.fileno()).st_mode & _OTHERS:
            raise OpenToOthersError(str(path))
        return file.read(_LARGEST)


@contextlib.contextmanager
def _draft(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
