"""The key under which weights are stored encrypted: from a file, the environment, or a key management service.

Each file has a key of its own; what stands here wraps and unwraps it. Which of the three is used:
`ATTEST_MODEL_KEY_COMMAND`, else `ATTEST_MODEL_KEY_FILE`, else `ATTEST_MODEL_KEY`.
"""

import base64
import binascii
import hashlib
import os
import shlex
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_COMMAND_S = 60.0
_LARGEST = 1 << 16


class WeightKeyError(Exception):
    """There is no key, or it does not fit; the message says what to do and never holds the key."""


class WeightKeys(Protocol):
    """What wraps the keys of files: a key here, a key management service elsewhere. Calls may block."""

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Return `key` encrypted, bound to `about`. Raises `WeightKeyError`."""

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Undo `wrap`. Raises `WeightKeyError` when it was wrapped by another key, for something else, or altered."""


class LocalKey:
    """A key of 32 bytes that this process holds (AES-256-GCM)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise WeightKeyError("The key of the weights must be 32 bytes, base64.")
        self._key = AESGCM(key)

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Return nonce and ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._key.encrypt(nonce, key, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Return the key. Raises `WeightKeyError`."""
        try:
            return self._key.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            raise WeightKeyError("the key does not fit: it was encrypted with another one, or altered") from None


class CommandKeys:
    """A key management service behind a command: `COMMAND wrap` and `COMMAND unwrap`.

    The command reads one line of base64, the key or the wrapped key, and prints one; `ATTEST_KEY_CONTEXT` names, in
    hexadecimal, what the key is bound to (for the service's encryption context).
    """

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Ask the service to wrap a key."""
        return self._asked("wrap", key, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Ask the service to unwrap a key."""
        return self._asked("unwrap", wrapped, about)

    def _asked(self, what: str, given: bytes, about: bytes) -> bytes:
        try:
            done = subprocess.run(
                [*self._command, what],
                input=base64.b64encode(given) + b"\n",
                capture_output=True,
                timeout=_COMMAND_S,
                check=True,
                env=os.environ | {"ATTEST_KEY_CONTEXT": hashlib.sha256(about).hexdigest()},
            )
            return base64.b64decode(done.stdout[:_LARGEST].strip(), validate=True)
        except (OSError, subprocess.SubprocessError, binascii.Error) as error:
            raise WeightKeyError(f"ATTEST_MODEL_KEY_COMMAND failed to {what} a key ({type(error).__name__})") from None


def keys_from(environ: Mapping[str, str]) -> WeightKeys:
    """Return the key that the environment names. Raises `WeightKeyError`."""
    if command := environ.get("ATTEST_MODEL_KEY_COMMAND", ""):
        return CommandKeys(command)
    if path := environ.get("ATTEST_MODEL_KEY_FILE", ""):
        return LocalKey(_read(Path(path)))
    if text := environ.get("ATTEST_MODEL_KEY", ""):
        return LocalKey(_decoded(text, "ATTEST_MODEL_KEY"))
    raise WeightKeyError(
        "There is no key of the weights: set ATTEST_MODEL_KEY_FILE, ATTEST_MODEL_KEY or ATTEST_MODEL_KEY_COMMAND."
    )


def new_key(path: Path) -> None:
    """Make a key file that only its owner may read. Raises `WeightKeyError`, also where there is one already."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WeightKeyError(f"{path} cannot be made: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise WeightKeyError(f"{path} may be read by others: chmod 600 it")
        return _decoded(path.read_text()[:_LARGEST], str(path))
    except (OSError, UnicodeDecodeError):
        raise WeightKeyError(f"{path} cannot be read") from None


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise WeightKeyError(f"{where} is no base64") from None
