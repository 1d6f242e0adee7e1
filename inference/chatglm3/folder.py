"""The files of a checkpoint folder: which hold the weights, and the exact identity of the whole."""

import contextlib
import hashlib
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.chatglm3.pickled import pickled_tensors

SUMS = "SHA256SUMS"
"""The manifest that a folder may have: `sha256sum * > SHA256SUMS`."""

_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](.{1,255})")
_LARGEST_INDEX = 16 * 2**20
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WEIGHTS = (".safetensors", ".bin")


_DAMAGED = (
    SafetensorError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    MemoryError,
)
"""What reading a damaged or hostile file of weights ends in: its bytes lead to whatever they happen to hit."""


class FolderError(Exception):
    """A file of the folder is missing or damaged; the message names it."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make what the system says of a file or folder that cannot be read a `FolderError` that names it."""
    try:
        yield
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


@dataclass(frozen=True)
class Weights:
    """The files that hold the weights, and where the index says that each tensor is."""

    files: tuple[Path, ...]
    index: dict[str, str]
    """Tensor → file name; empty when there is a single file."""
    said_by: str = ""
    """Name of the index; empty when there is a single file."""
    missing: tuple[str, ...] = ()
    """Names of files that the index names and that are not there."""

    @property
    def named(self) -> str:
        """What a message calls them."""
        return f"what {self.said_by} names" if self.said_by else self.files[0].name


@dataclass(frozen=True)
class Described:
    """What a file says of a tensor; no type where it is none that a model has."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None


_TYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I8": torch.int8,
    "U8": torch.uint8,
}


def find_weights(folder: Path) -> Weights:
    """Return the weight files: sharded safetensors, one safetensors file, sharded `.bin` or one `.bin`.

    Raises `FolderError`, also when the folder or an index cannot be read.
    """
    found = look_for_weights(folder)
    for problem in absent(folder, found):
        raise FolderError(problem)
    return found


def absent(folder: Path, weights: Weights) -> list[str]:
    """Return what to say of each file that the index names and that is not there."""
    return [f"{folder / name} is missing ({weights.said_by} names it)" for name in weights.missing]


def unused(folder: Path, weights: Weights) -> list[Path]:
    """Return the files that look like weights and are none that are read. Raises `FolderError`."""
    with reading(folder):
        there = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())
    return [path for path in there if path not in weights.files]


def look_for_weights(folder: Path) -> Weights:
    """Return the weight files as `find_weights` does, also where some of those that the index names are missing."""
    with reading(folder):
        if not folder.is_dir():
            raise FolderError(f"{folder} is not a folder")
        for index_name, single_name in zip(_INDEXES, _SINGLE, strict=True):
            if (folder / index_name).is_file():
                return _sharded(folder, index_name)
            if (folder / single_name).is_file():
                return Weights(files=(folder / single_name,), index={})
            _refuse_sealed(folder / single_name)
    raise FolderError(f"{folder} has no weights: expected {_INDEXES[0]} or {_SINGLE[0]}")


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of a file, mapped into memory. Raises `FolderError` when the file is damaged or hostile."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt", device="cpu") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    yield name, file.get_tensor(name)
        else:
            yield from pickled_tensors(path).items()
    except _DAMAGED as error:
        raise _damaged(path, error) from None


def finite(tensor: Tensor) -> bool:
    """Say whether every value is a number, neither NaN nor infinite."""
    # The least and the greatest value say it too, twenty times as fast as a look at each: NaN takes the place of both.
    return not tensor.is_floating_point() or bool(torch.isfinite(torch.stack(tensor.aminmax())).all())


def described(path: Path) -> dict[str, Described]:
    """Return each tensor's shape and type without reading it. Raises `FolderError` for a damaged or hostile file."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt", device="cpu") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                return {
                    name: Described(tuple(each.get_shape()), _TYPES.get(each.get_dtype()))
                    for name, each in slices.items()
                }
        return {name: Described(tuple(tensor.shape), tensor.dtype) for name, tensor in pickled_tensors(path).items()}
    except _DAMAGED as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> FolderError:
    """Return what to say of a file that cannot be taken: the libraries call one that may not be read missing."""
    try:
        with reading(path), path.open("rb"):
            pass
    except FolderError as unreadable:
        return unreadable
    what = "" if path.suffix == ".safetensors" else ", or a pickle that holds more than plain tensors"
    return FolderError(f"{path} is damaged{what} ({type(error).__name__})")


def revision(folder: Path, weights: Weights, known: Mapping[str, str] | None = None) -> str:
    """Return the identity of configuration, tokenizer and weights: a hash over the SHA-256 of each file.

    `known` has the SHA-256 of files that have been hashed already, by name.
    """
    hashes = known or {}
    lines = [f"{path.name} {hashes.get(path.name) or sha256(path)}\n" for path in identity(folder, weights)]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def identity(folder: Path, weights: Weights) -> list[Path]:
    """Return the files that decide what the model computes: configuration, tokenizer if there is one, weights."""
    files = [folder / "config.json", folder / "tokenizer.model", *weights.files]
    return [path for path in sorted(files) if path.is_file()]


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal. Raises `FolderError` when it cannot be read."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums(folder: Path) -> dict[str, str]:
    """Return what `SHA256SUMS` says of each file, as sha256sum writes it; empty where there is no such file.

    Raises `FolderError`.
    """
    path = folder / SUMS
    if not path.exists():
        return {}
    if not path.is_file() or path.stat().st_size > _LARGEST_INDEX:
        raise FolderError(f"{path} is no list of hashes")
    try:
        with reading(path):
            lines = [_SUM.fullmatch(line) for line in path.read_text().splitlines() if line]
    except UnicodeDecodeError:
        raise FolderError(f"{path} is not UTF-8") from None
    found = {line[2].removeprefix("./"): line[1].lower() for line in lines if line}
    if len(found) != len(lines):
        raise FolderError(f"{path} has a line that is not as sha256sum writes it")
    return found


def _refuse_sealed(path: Path) -> None:
    """Say that a file is encrypted where it would be called missing; serving and checking see it decrypted."""
    if not path.is_file() and path.with_name(path.name + ".sealed").is_file():
        raise FolderError(f"{path}.sealed is encrypted, which is for serving only: take the folder as it was before")


def _sharded(folder: Path, index_name: str) -> Weights:
    path = folder / index_name
    if path.stat().st_size > _LARGEST_INDEX:
        raise FolderError(f"{path} is larger than {_LARGEST_INDEX} bytes")
    with reading(path):
        content = path.read_bytes()
    try:
        index = msgspec.json.decode(content, type=_Index).weight_map
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FolderError(f"{path} is damaged: {error}") from None
    names = sorted(set(index.values()))
    for name in names:
        # A name from the index must not lead out of the folder.
        if name != Path(name).name or not name.endswith(_WEIGHTS):
            raise FolderError(f"{path} names a file that is no weight file of this folder")
        _refuse_sealed(folder / name)
    if not names:
        raise FolderError(f"{path} names no file")
    there = tuple(folder / name for name in names if (folder / name).is_file())
    missing = tuple(name for name in names if folder / name not in there)
    return Weights(there, index, index_name, missing)
