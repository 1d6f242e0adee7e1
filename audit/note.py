"""Signed notes and their keys: C2SP signed-note with Ed25519, keys written as Go's sumdb/note writes them."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Protocol, Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MOST_SIGNATURES = 64
LARGEST_NOTE = 1_000_000
"""Bytes of a note that is read."""
_ED25519 = b"\x01"
_SECRET_MARK = "PRIVATE+KEY+"  # noqa: S105 - the word, not a secret
_KEY_BYTES = 32
_ID_BYTES = 4
_MARK = "\u2014 "
_BAD_NAME = re.compile(r"[\s+]|[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_BAD_TEXT = re.compile("[\x00-\x09\x0b-\x1f]|[\ud800-\udfff]")


class NoteError(ValueError):
    """A note or key is not well formed, or nobody who is known has signed it; the message quotes no content."""


class PublicKey(msgspec.Struct, frozen=True):
    """A key that verifies. It is written `NAME+ID+BASE64`, its id in hex."""

    name: str
    raw: bytes
    """The 32 bytes of RFC 8032."""

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a signature names this key."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.raw).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.raw).decode()}"

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read a key as `str` writes it. Raises `NoteError`."""
        name, key_id, key = _parts_of(written.strip(), "public")
        found = cls(check_name(name), key)
        if found.key_id.hex() != key_id:
            raise NoteError("The id of the public key is not that of its name and bytes.")
        return found

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature over the text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer(Protocol):
    """What signs notes: a key file here, a key management service elsewhere. Calls may block."""

    public: PublicKey

    def sign(self, text: bytes) -> bytes:
        """Return the 64 bytes of an Ed25519 signature (RFC 8032)."""


class Ed25519Signer:
    """A signing key in memory. It is written `PRIVATE+KEY+NAME+ID+BASE64`."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed` are the 32 bytes of RFC 8032. Raises `NoteError`."""
        if len(seed) != _KEY_BYTES:
            raise NoteError("A signing key must be 32 bytes.")
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(check_name(name), self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.public.name}+{self.public.key_id.hex()})"

    @classmethod
    def parse(cls, written: str) -> Self:
        """Read a key as `secret` writes it. Raises `NoteError`, whose message does not quote it."""
        written = written.strip()
        if not written.startswith(_SECRET_MARK):
            raise NoteError("A signing key must begin with PRIVATE+KEY+.")
        name, key_id, seed = _parts_of(written.removeprefix(_SECRET_MARK), "signing")
        signer = cls(name, seed)
        if signer.public.key_id.hex() != key_id:
            raise NoteError("The id of the signing key is not that of its name and bytes.")
        return signer

    def secret(self) -> str:
        """Write the key, for its file alone."""
        written = base64.b64encode(_ED25519 + self._seed).decode()
        return f"{_SECRET_MARK}{self.public.name}+{self.public.key_id.hex()}+{written}"

    def sign(self, text: bytes) -> bytes:
        """Sign; see `Signer`."""
        return self._key.sign(text)


class OpenedNote(msgspec.Struct, frozen=True):
    """A note of which at least one known key vouches for the text."""

    text: str
    """With its final newline."""
    signed_by: tuple[PublicKey, ...]


def sign(text: str, signers: Sequence[Signer]) -> str:
    """Return the note over a text that ends in a newline. Raises `NoteError`."""
    _check_text(text)
    if not signers:
        raise NoteError("A note needs a signing key.")
    lines = [
        f"{_MARK}{one.public.name} {base64.b64encode(one.public.key_id + one.sign(text.encode())).decode()}\n"
        for one in signers
    ]
    return text + "\n" + "".join(lines)


def open_note(note: str, keys: Iterable[PublicKey]) -> OpenedNote:
    """Return the text of a note that one of these keys has signed, and which of them did.

    Signatures of other keys are ignored. Raises `NoteError` when a signature of a known key is wrong, or none is there.
    """
    text, lines = _split(note)
    known = {(key.name, key.key_id): key for key in keys}
    signed_by: list[PublicKey] = []
    for line in lines:
        name, signature = _signature(line)
        key = known.get((name, signature[:_ID_BYTES]))
        if key is None:
            continue
        if key in signed_by or not key.verifies(text, signature[_ID_BYTES:]):
            raise NoteError(f"A signature of {name}+{key.key_id.hex()} is wrong.")
        signed_by.append(key)
    if not signed_by:
        raise NoteError("The note has no signature of a known key.")
    return OpenedNote(text, tuple(signed_by))


def check_name(name: str) -> str:
    """Return the name of a key if it can be one. Raises `NoteError`."""
    if not name or _BAD_NAME.search(name):
        raise NoteError("The name of a key must not be empty, nor hold spaces, plus signs or control characters.")
    return name


def _split(note: str) -> tuple[str, list[str]]:
    if len(note) > LARGEST_NOTE:
        raise NoteError("The note is too large.")
    text, blank, signatures = note.rpartition("\n\n")
    _check_text(text + "\n")
    lines = signatures.split("\n")
    if not blank or lines.pop() or not 1 <= len(lines) <= MOST_SIGNATURES:
        raise NoteError("The note does not end in signatures, one a line.")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes]:
    name, space, written = line.removeprefix(_MARK).partition(" ")
    try:
        signature = base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if not line.startswith(_MARK) or not space or len(signature) <= _ID_BYTES:
        raise NoteError("A line of the note is no signature.")
    if base64.b64encode(signature).decode() != written:
        raise NoteError("A signature of the note is not written in the one right way.")
    return check_name(name), signature


def _check_text(text: str) -> None:
    if len(text) <= 1 or not text.endswith("\n") or _BAD_TEXT.search(text):
        raise NoteError("The text of a note must end in a newline and hold no control characters.")


def _parts_of(written: str, what: str) -> tuple[str, str, bytes]:
    parts = written.split("+", 2)
    try:
        name, key_id, encoded = parts
        key = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise NoteError(f"The {what} key is not written as NAME+ID+BASE64.") from None
    if key[:1] != _ED25519 or len(key) != 1 + _KEY_BYTES:
        raise NoteError(f"The {what} key is not one for Ed25519.")
    return name, key_id, key[1:]
