"""`manifest.json` of a quantised folder: what it was made from, how, how far off each matrix is, each file's hash."""

from pathlib import Path

import msgspec

from inference.chatglm3.folder import FolderError, reading, sha256

MANIFEST = "manifest.json"
FORMAT = 1
_LARGEST = 16 * 2**20


class File(msgspec.Struct, frozen=True):
    """A file and what it must be."""

    bytes: int
    sha256: str


class Matrix(msgspec.Struct, frozen=True):
    """How one matrix was stored."""

    bits: int
    error: float
    """Root of the squared error over the squares of the matrix."""


class Source(msgspec.Struct, frozen=True):
    """The folder that was quantised."""

    revision: str
    files: dict[str, File]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole. `files` has every file of the folder but this one."""

    format: int
    precision: str
    method: str
    group_size: int
    source: Source
    matrices: dict[str, Matrix]
    files: dict[str, File]


def describe(path: Path) -> File:
    """Return a file's size and hash. Raises `FolderError` when it cannot be read."""
    return File(bytes=path.stat().st_size, sha256=sha256(path))


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into its folder."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST).write_bytes(text + b"\n")


def read(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; None where it has none. Raises `FolderError` when it cannot be read."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise FolderError(f"{path} is no manifest")
    with reading(path):
        content = path.read_bytes()
    try:
        found = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FolderError(f"{path} is damaged: {error}") from None
    if found.format != FORMAT:
        raise FolderError(f"{path} has format {found.format}; this version reads {FORMAT}")
    return found


def differences(manifest: Manifest, hashes: dict[str, str]) -> list[str]:
    """Return what is not as the manifest says, by name; `hashes` has the SHA-256 of the files that are there."""
    missing = [f"{name} is missing ({MANIFEST} names it)" for name in manifest.files if name not in hashes]
    wrong = [
        f"{name} is not the file that {MANIFEST} names"
        for name, file in manifest.files.items()
        if name in hashes and hashes[name] != file.sha256.lower()
    ]
    return missing + wrong
