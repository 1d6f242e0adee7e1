"""The master key and the keys under it: master key → key of a subject → key of a record → text (AES-256-GCM each).

Destroying a subject's key makes all of that subject's texts unreadable for good, and leaves every leaf as it is.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit import files

KEY_BYTES = 32
_NONCE_BYTES = 12


class KeyFileError(Exception):
    """The master key cannot be used; the message says what to do."""


class MasterKey(Protocol):
    """What wraps the keys of subjects: a key file here, a key management service elsewhere. Calls may block."""

    identity: str
    """Which key it is, without revealing it: stands beside what it wrapped."""

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Return `key` encrypted; `about` is authenticated with it."""

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Undo `wrap`. Raises `KeyFileError` when it was wrapped by another key, for something else, or altered."""

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose: always the same, and no help to find the key or those of other purposes."""


class FileMasterKey:
    """A master key of 32 bytes that this process holds: from a file (base64) readable by its owner alone, or given."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyFileError("The master key must be 32 bytes, base64.")
        self._key = key
        self.identity = hashlib.sha256(b"attest/master-key/v1" + key).hexdigest()[:16]

    @classmethod
    def load_or_create(cls, path: Path) -> "FileMasterKey":
        """Read the key file; make it, with mode 0600, when there is none. Two processes at once get the same key.

        Raises `KeyFileError` when the file is not ours alone or holds no key.
        """
        with contextlib.suppress(FileExistsError):
            if not path.exists():
                _create(path)
        return cls.load(path)

    @classmethod
    def given(cls, written: str) -> "FileMasterKey":
        """Read a key that is written as base64, as the environment gives it. Raises `KeyFileError`."""
        try:
            return cls(base64.b64decode(written.strip(), validate=True))
        except (binascii.Error, ValueError):
            raise KeyFileError("The master key that was given (ATTEST_MASTER_KEY) is not base64.") from None

    @classmethod
    def load(cls, path: Path) -> "FileMasterKey":
        """Read the key file. Raises `KeyFileError`."""
        try:
            key = base64.b64decode(files.read_private(path).strip(), validate=True)
        except files.OpenToOthersError:
            raise KeyFileError(f"The master key file {path} can be read by others; run: chmod 600 {path}") from None
        except OSError as error:
            raise KeyFileError(
                f"The master key file {path} cannot be read: {error.strerror}; "
                "name the gateway's own (ATTEST_MASTER_KEY_FILE)."
            ) from None
        except binascii.Error:
            raise KeyFileError(f"The master key file {path} does not hold base64.") from None
        return cls(key)

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Encrypt a key; see `MasterKey`."""
        return encrypt(self._key, key, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Decrypt a key; see `MasterKey`."""
        try:
            return decrypt(self._key, wrapped, about)
        except InvalidTag:
            raise KeyFileError(
                "The master key is not the one that this database's texts are encrypted with; "
                "give the right file (ATTEST_MASTER_KEY_FILE)."
            ) from None

    def derive(self, purpose: str) -> bytes:
        """Return a key for one purpose; see `MasterKey`."""
        return hmac.digest(self._key, b"attest/derived/v1\x00" + purpose.encode(), "sha256")


def _create(path: Path) -> None:
    try:
        files.create(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
    except FileExistsError:
        raise
    except OSError as error:
        raise KeyFileError(f"The master key file {path} cannot be made: {error.strerror}.") from None


def encrypt(key: bytes, data: bytes, about: bytes) -> bytes:
    """Return a random 96-bit nonce and the AES-256-GCM ciphertext; `about` is authenticated with it."""
    return _encrypt(AESGCM(key), data, about)


def decrypt(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """Undo `encrypt`. Raises `cryptography.exceptions.InvalidTag`."""
    return _decrypt(AESGCM(key), sealed, about)


def _encrypt(cipher: AESGCM, data: bytes, about: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, about)


def _decrypt(cipher: AESGCM, sealed: bytes, about: bytes) -> bytes:
    return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)


class SubjectKey:
    """The key that wraps the record keys of one subject, and names the subject's texts."""

    def __init__(self, key_id: str, key: bytes) -> None:
        self.key_id = key_id
        self._cipher = AESGCM(key)
        self._naming = hmac.digest(key, b"attest/text-id/v1", "sha256")

    def __repr__(self) -> str:
        return f"SubjectKey({self.key_id})"

    def text_id(self, role: str, text: bytes) -> str:
        """Return the id of a dialogue text: HMAC-SHA-256 (base64url), the same for the same text of this subject."""
        digest = hmac.digest(self._naming, role.encode("utf-8", "surrogatepass") + b"\x00" + text, "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def new_record_key(self, about: bytes) -> tuple[bytes, bytes]:
        """Return a fresh record key and the same wrapped; `about` is what the record is known by."""
        record_key = os.urandom(KEY_BYTES)
        return record_key, _encrypt(self._cipher, record_key, about)

    def record_key(self, wrapped: bytes, about: bytes) -> bytes:
        """Unwrap a record key. Raises `cryptography.exceptions.InvalidTag`."""
        return _decrypt(self._cipher, wrapped, about)
