"""The files of a checkpoint folder: which hold the weights, and the exact identity of the whole."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

_LARGEST_INDEX = 16 * 2**20
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WEIGHTS = (".safetensors", ".bin")


class FolderError(Exception):
    """A file of the folder is missing or damaged; the message names it."""


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


@dataclass(frozen=True)
class Weights:
    """The files that hold the weights, and where the index says that each tensor is."""

    files: tuple[Path, ...]
    index: dict[str, str]
    """Tensor → file name; empty when there is a single file."""


def find_weights(folder: Path) -> Weights:
    """Return the weight files: sharded safetensors, one safetensors file, sharded `.bin` or one `.bin`."""
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder")
    for index_name, single_name in zip(_INDEXES, _SINGLE, strict=True):
        if (folder / index_name).is_file():
            return _sharded(folder, index_name)
        if (folder / single_name).is_file():
            return Weights(files=(folder / single_name,), index={})
    raise FolderError(f"{folder} has no weights: expected {_INDEXES[0]} or {_SINGLE[0]}")


def revision(folder: Path, weights: Weights) -> str:
    """Return the identity of configuration, tokenizer and weights: a hash over the SHA-256 of each file."""
    files = [folder / "config.json", folder / "tokenizer.model", *weights.files]
    lines = []
    for path in sorted(files):
        if path.is_file():
            with path.open("rb") as file:
                lines.append(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n")
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _sharded(folder: Path, index_name: str) -> Weights:
    path = folder / index_name
    if path.stat().st_size > _LARGEST_INDEX:
        raise FolderError(f"{path} is larger than {_LARGEST_INDEX} bytes")
    try:
        index = msgspec.json.decode(path.read_bytes(), type=_Index).weight_map
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FolderError(f"{path} is damaged: {error}") from None
    names = sorted(set(index.values()))
    for name in names:
        # A name from the index must not lead out of the folder.
        if name != Path(name).name or not name.endswith(_WEIGHTS):
            raise FolderError(f"{path} names a file that is no weight file of this folder")
        if not (folder / name).is_file():
            raise FolderError(f"{folder / name} is missing ({index_name} names it)")
    if not names:
        raise FolderError(f"{path} names no file")
    return Weights(files=tuple(folder / name for name in names), index=index)
