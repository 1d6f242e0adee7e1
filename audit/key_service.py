"""A master key that a key service keeps sealed: only its ciphertext is stored, and the service opens it at each start.

The key works in this process as one from a file does, so nothing waits for the service while turns run, and a service
that is gone stops only what starts. Whoever has the database, its backups and the sealed file can read no text.
"""

import contextlib
import os
from pathlib import Path
from typing import Protocol

from audit import files
from audit.keys import KEY_BYTES, FileMasterKey, KeyFileError


class KeyService(Protocol):
    """A key management service that encrypts under a key which never leaves it. Calls block; errors say what to do."""

    def seal(self, key: bytes) -> str:
        """Return a key encrypted, as one line of text. Raises `KeyFileError`."""

    def unseal(self, sealed: str) -> bytes:
        """Undo `seal`. Raises `KeyFileError`."""


def load_or_create(path: Path, service: KeyService) -> FileMasterKey:
    """Open the sealed key of a file; make one where there is none. Two processes at once get the same key.

    Raises `KeyFileError`.
    """
    if not path.exists():
        sealed = service.seal(os.urandom(KEY_BYTES))
        try:
            with contextlib.suppress(FileExistsError):
                files.create(path, sealed.encode() + b"\n")
        except OSError as error:
            raise KeyFileError(f"The sealed master key {path} cannot be made: {error.strerror}.") from None
    return load(path, service)


def load(path: Path, service: KeyService) -> FileMasterKey:
    """Open the sealed key of a file. Raises `KeyFileError`."""
    try:
        sealed = files.read_private(path).decode("ascii").strip()
    except files.OpenToOthersError:
        raise KeyFileError(f"The sealed master key {path} can be read by others; run: chmod 600 {path}") from None
    except OSError as error:
        raise KeyFileError(f"The sealed master key {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"The file {path} holds no sealed master key.") from None
    return FileMasterKey(service.unseal(sealed))
