"""Weights at rest, encrypted: AES-256-GCM by chunk, and a folder of them seen as if they were not.

    16 bytes   ATTEST-SEALED-1, newline
    4 bytes    length of the header, big endian
    header     JSON: `Header`
    chunks     each `chunk` bytes of the file (the last one less) and a tag of 16 bytes

The nonce of a chunk is its number, since each file has a key of its own. Each chunk is bound to the header, to its
number and to being the last or not: nothing can be changed, moved, cut off or taken from another file.
"""

import contextlib
import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from inference.weight_keys import KEY_BYTES, WeightKeyError, WeightKeys, keys_from

SUFFIX = ".sealed"
CHUNK = 1 << 20
_MAGIC = b"ATTEST-SEALED-1\n"
_TAG = 16
_LARGEST_HEADER = 1 << 16
WEIGHTS = (".safetensors", ".bin")
_ABOUT = b"attest/weights/v1\0"


class SealedError(Exception):
    """A file cannot be opened; the message names it."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands before the chunks."""

    name: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
    """Name of the file that is in it."""
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 46)]
    """Its bytes."""
    chunk: Annotated[int, msgspec.Meta(ge=1 << 10, le=1 << 26)]
    wrapped: bytes
    """The file's key, wrapped."""


def seal(path: Path, to: Path, keys: WeightKeys) -> None:
    """Write a file encrypted. Raises `WeightKeyError` or `OSError`."""
    key, name, size = os.urandom(KEY_BYTES), path.name, path.stat().st_size
    header = msgspec.json.encode(Header(name, size, CHUNK, keys.wrap(key, _ABOUT + name.encode())))
    cipher, bound = AESGCM(key), hashlib.sha256(header).digest()
    with path.open("rb") as plain, to.open("xb") as sealed:
        sealed.write(_MAGIC + struct.pack(">I", len(header)) + header)
        for index in range(_chunks(size, CHUNK)):
            sealed.write(cipher.encrypt(*_chunk(index, size, CHUNK, plain.read(CHUNK), bound)))
        sealed.flush()
        os.fsync(sealed.fileno())


def unseal(path: Path, keys: WeightKeys, to: BinaryIO) -> str:
    """Write the file that is in a sealed one, and return its name. Raises `SealedError` that names it."""
    try:
        with path.open("rb") as sealed:
            header, bound = _header(sealed, path)
            size = os.fstat(sealed.fileno()).st_size - sealed.tell()
            if size != header.size + _TAG * _chunks(header.size, header.chunk):
                raise SealedError(f"{path} was cut off or added to")
            cipher = AESGCM(keys.unwrap(header.wrapped, _ABOUT + header.name.encode()))
            for index in range(_chunks(header.size, header.chunk)):
                data = sealed.read(min(header.chunk, header.size - index * header.chunk) + _TAG)
                try:
                    to.write(cipher.decrypt(*_chunk(index, header.size, header.chunk, data, bound)))
                except InvalidTag:
                    raise SealedError(f"{path} was altered (chunk {index})") from None
    except WeightKeyError as error:
        raise SealedError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:
        raise SealedError(f"{path} cannot be read ({type(error).__name__})") from None
    to.flush()
    return header.name


@contextlib.contextmanager
def plain_view(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Yield a folder as it was before it was encrypted; the folder itself where nothing in it is.

    Decrypted files are in memory alone (memfd); the view holds links to them that lead nowhere in another process. What
    is mapped from them stays mapped after the view is gone. Raises `SealedError` that names the file.
    """
    try:
        sealed = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file()) if folder.is_dir() else []
    except OSError as error:
        raise SealedError(f"{folder} cannot be read: {error.strerror}") from None
    if not sealed:
        yield folder
        return
    try:
        keys = keys_from(os.environ if environ is None else environ)
    except WeightKeyError as error:
        raise SealedError(str(error)) from None
    with contextlib.ExitStack() as stack:
        view = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attest-view-")))
        for path in folder.iterdir():
            if path.suffix != SUFFIX:
                (view / path.name).symlink_to(path.resolve())
        for path in sealed:
            file = stack.enter_context(os.fdopen(os.memfd_create("attest-weights", os.MFD_CLOEXEC), "w+b"))
            name = unseal(path, keys, file)
            if path.name != name + SUFFIX:
                raise SealedError(f"{path} holds another file than its name says")
            if (view / name).is_symlink():
                raise SealedError(f"{path} stands beside {name}, which it holds: delete one of the two")
            (view / name).symlink_to(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        yield view


def seal_folder(folder: Path, to: Path, keys: WeightKeys) -> int:
    """Copy a folder with its weights encrypted; return how many files were. Raises `WeightKeyError` or `OSError`."""
    to.mkdir(parents=True)
    count = 0
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.suffix in WEIGHTS:
            seal(path, to / (path.name + SUFFIX), keys)
            count += 1
        else:
            shutil.copyfile(path, to / path.name)
    return count


def _header(sealed: BinaryIO, path: Path) -> tuple[Header, bytes]:
    start = sealed.read(len(_MAGIC) + 4)
    if start[:-4] != _MAGIC:
        raise SealedError(f"{path} is no sealed file")
    (length,) = struct.unpack(">I", start[-4:])
    raw = sealed.read(length) if length <= _LARGEST_HEADER else b""
    try:
        return msgspec.json.decode(raw, type=Header), hashlib.sha256(raw).digest()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise SealedError(f"{path} has a damaged header") from None


def _chunks(size: int, chunk: int) -> int:
    """Return the number of chunks; an empty file has one, so that there is a tag."""
    return max(1, -(-size // chunk))


def _chunk(index: int, size: int, chunk: int, data: bytes, bound: bytes) -> tuple[bytes, bytes, bytes]:
    """Return nonce, data and what is authenticated beside it."""
    last = index == _chunks(size, chunk) - 1
    return index.to_bytes(12), data, bound + struct.pack(">Q?", index, last)
