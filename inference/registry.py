"""The registry: a folder of model versions, and which of them answer. Plain files and no torch.

    REGISTRY/registry.json       the state that `inference.versions` describes, replaced as a whole
    REGISTRY/versions/ID/        one folder of weights for each version

Whoever changes it holds a lock; whoever reads it sees either the old state or the new one.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import msgspec

from inference.versions import FORMAT, NAME, RegistryError, State, Version

SUBFOLDER = "versions"
_FILE = "registry.json"
_LARGEST = 1 << 20
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[0-9a-f]{12}")


class RegistryUnusableError(RegistryError):
    """The folder cannot be read or written as it is, whatever is asked of it."""


class Registry:
    """The folder. Every method is quick; none looks into the weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def file(self) -> Path:
        """The file that says everything; a change of it is a change of the registry."""
        return self.folder / _FILE

    def folder_of(self, version: Version) -> Path:
        """Return where a version's weights are."""
        return self.folder / SUBFOLDER / version.id

    def read(self) -> State:
        """Return what the registry holds. Raises `RegistryUnusableError`."""
        try:
            if self.file.stat().st_size > _LARGEST:
                raise RegistryUnusableError(f"{self.file} is larger than {_LARGEST} bytes")
            state = msgspec.json.decode(self.file.read_bytes(), type=State)
        except FileNotFoundError:
            raise RegistryUnusableError(
                f"{self.folder} is no registry: add a version with `attest models add`"
            ) from None
        except OSError as error:
            raise RegistryUnusableError(f"{self.file} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RegistryUnusableError(f"{self.file} is damaged: {error}") from None
        return _checked(state, self.file)

    def place(self) -> Path:
        """Make a folder for files that are to become a version, and return it. Raises `RegistryUnusableError`."""
        fresh = self.folder / SUBFOLDER / f".adding-{uuid4().hex}"
        try:
            fresh.mkdir(mode=0o755, parents=True)
        except OSError as error:
            raise RegistryUnusableError(f"{self.folder} cannot be written: {error.strerror}") from None
        return fresh

    @contextlib.contextmanager
    def locked(self) -> Iterator[Callable[[State], None]]:
        """Hold the lock; what this yields writes a new state. Both raise `RegistryUnusableError`."""
        try:
            (self.folder / SUBFOLDER).mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RegistryUnusableError(f"{self.folder} cannot be written: {error.strerror}") from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise RegistryUnusableError(f"{self.folder} cannot be locked: {error.strerror}") from None
            yield self._write
        finally:
            os.close(lock)

    def discard(self, version: Version) -> None:
        """Delete a version's folder, if there is one; the state must be without it. Raises `RegistryUnusableError`."""
        gone = self.folder / SUBFOLDER / f".removed-{uuid4().hex}"
        try:
            self.folder_of(version).rename(gone)
            shutil.rmtree(gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise RegistryUnusableError(f"{self.folder_of(version)} cannot be deleted: {error.strerror}") from None

    def _write(self, state: State) -> None:
        _checked(state, self.file)
        try:
            self._replace(state)
        except OSError as error:
            raise RegistryUnusableError(f"{self.file} cannot be written: {error.strerror}") from None

    def _replace(self, state: State) -> None:
        fresh = self.folder / f".{_FILE}.new"
        with fresh.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.file)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _checked(state: State, file: Path) -> State:
    """Return the state if it holds together; a file written by hand must not lead anywhere else."""
    ids = [one.id for one in state.versions]
    named = [state.active] if state.active else []
    named += [part.version for part in (state.canary, state.mirror) if part is not None]
    if state.format != FORMAT:
        raise RegistryUnusableError(f"{file} has format {state.format}; this Attest knows {FORMAT}")
    if not NAME.fullmatch(state.model):
        raise RegistryUnusableError(f"{file}: `model` is no name")
    if wrong := [one for one in ids if not _ID.fullmatch(one)]:
        raise RegistryUnusableError(f"{file}: {wrong[0][:100]!r} is no id of a version")
    if len(set(ids)) != len(ids):
        raise RegistryUnusableError(f"{file} names a version twice")
    if missing := [one for one in (*named, *state.previous) if one not in ids]:
        raise RegistryUnusableError(f"{file} names a version that is not in it: {missing[0][:100]!r}")
    return state
