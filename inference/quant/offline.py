"""A checkpoint folder → the same model in eight or four bits, offline, one matrix after the other.

Memory stays within about 2 GB beyond what is mapped of the source, whatever the size of the model. The new folder
appears under its name only when it is complete.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from inference.chatglm3 import folder as folders
from inference.chatglm3.config import ConfigError, Published, read_published
from inference.chatglm3.layout import LayoutError
from inference.chatglm3.loader import checked
from inference.engine.base import ModelFolderError
from inference.quant import arithmetic, manifest
from inference.quant.plan import GROUP, METHOD, SCALE, ZERO, Quantisation, bits_of

MOST_ERROR = {8: 0.02, 4: 0.12}
"""A matrix that is further off than this is no good match for the method: the default bound, by bits."""

_INDEX = "model.safetensors.index.json"
_PART_BYTES = 2**30
_BLOCK_VALUES = 2**18
"""Values that are quantised together: what they take on the way stays in the processor's cache. Larger blocks took four
times as long, most of it in pages that the system hands out and takes back for each of them."""
_LARGEST_COPIED = 2**24


class QuantiseError(ModelFolderError):
    """The folder cannot be quantised; the message names what is wrong."""


def quantise(
    source: Path,
    target: Path,
    bits: int,
    *,
    most_error: float | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> manifest.Manifest:
    """Write `target`, a new folder. Raises `QuantiseError`, and then leaves nothing behind.

    `most_error` bounds the relative error of each matrix; `say` is told of each file that is done.
    """
    partial = target.with_name(target.name + ".partial")
    work = _opened(source, target, partial, bits)
    try:
        found = work.run(MOST_ERROR[bits] if most_error is None else most_error, say)
        partial.rename(target)
    except (LayoutError, folders.FolderError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise QuantiseError(str(error)) from None
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return found


def _opened(source: Path, target: Path, partial: Path, bits: int) -> "_Work":
    try:
        published = read_published(source)
        weights = folders.find_weights(source)
    except (ConfigError, folders.FolderError) as error:
        raise QuantiseError(str(error)) from None
    if published.quantization_config is not None:
        raise QuantiseError(f"{source} is quantised already")
    if target.exists():
        raise QuantiseError(f"{target} exists already")
    try:
        partial.mkdir(parents=True)
    except FileExistsError:
        raise QuantiseError(f"{partial} exists: another run is at work, or one was killed; remove it") from None
    except OSError as error:
        raise QuantiseError(f"{partial} cannot be written: {error.strerror}") from None
    return _Work(source, partial, published, weights, Quantisation(4 if bits == 4 else 8))  # noqa: PLR2004


class _Work:
    def __init__(
        self, source: Path, target: Path, published: Published, weights: folders.Weights, quantisation: Quantisation
    ) -> None:
        self._source = source
        self._target = target
        self._published = published
        self._weights = weights
        self._quantisation = quantisation
        self._matrices: dict[str, manifest.Matrix] = {}
        self._map: dict[str, str] = {}
        self._parts: list[str] = []

    def run(self, most_error: float, say: Callable[[str], None]) -> manifest.Manifest:
        """Write every file; the manifest is the last one."""
        source_files = {path.name: manifest.describe(path) for path in folders.identity(self._source, self._weights)}
        part: dict[str, Tensor] = {}
        for _, name, tensor in checked(self._published, self._weights):
            part |= self._stored(name, tensor, most_error)
            if sum(each.nbytes for each in part.values()) >= _PART_BYTES:
                say(self._write_part(part))
                part = {}
        if part:
            say(self._write_part(part))
        self._write_json(_INDEX, {"metadata": {}, "weight_map": self._map})
        self._copy()
        hashes = {name: file.sha256 for name, file in source_files.items()}
        found = manifest.Manifest(
            format=manifest.FORMAT,
            precision=self._quantisation.precision,
            method=METHOD,
            group_size=GROUP,
            source=manifest.Source(folders.revision(self._source, self._weights, hashes), source_files),
            matrices=self._matrices,
            files={path.name: manifest.describe(path) for path in sorted(self._target.iterdir())},
        )
        manifest.write(self._target, found)
        return found

    def _stored(self, name: str, tensor: Tensor, most_error: float) -> dict[str, Tensor]:
        bits = bits_of(name, tuple(tensor.shape), self._quantisation)
        if bits > 8:  # noqa: PLR2004 - eight bits
            # In bfloat16: the type in which a model is served whose size calls for this.
            return {name: tensor.to(torch.bfloat16).contiguous() if tensor.dtype.itemsize > 2 else tensor.clone()}  # noqa: PLR2004
        found, error = _matrix(name, tensor, bits)
        self._matrices[name] = manifest.Matrix(bits=bits, error=round(error, 6))
        # Four-bit folders keep some matrices in eight, which are never further off.
        if not error <= most_error:  # what is no number is no small error
            raise LayoutError(
                f"tensor {name} is off by {error:.2%} in {bits} bits, more than {most_error:.2%} (--max-error)"
            )
        return found

    def _write_part(self, part: dict[str, Tensor]) -> str:
        file = f"model-{len(self._parts) + 1:05d}.safetensors"
        try:
            save_file(part, self._target / file, metadata={"format": "pt"})
        except SafetensorError as error:
            raise LayoutError(f"{self._target / file} cannot be written: {error}") from None
        # The library writes for the owner alone; weights are no secret to whoever may read the folder.
        (self._target / file).chmod(0o644)
        self._parts.append(file)
        self._map |= dict.fromkeys(part, file)
        return file

    def _copy(self) -> None:
        """Copy tokenizer and cards; the configuration says in addition how it is quantised."""
        config = json.loads((self._source / "config.json").read_bytes())
        quantisation = {"quant_method": METHOD, "bits": self._quantisation.bits, "group_size": GROUP}
        self._write_json("config.json", config | {"quantization_config": quantisation})
        weights = {path.name for path in self._weights.files}
        for path in sorted(self._source.iterdir()):
            small = path.is_file() and path.stat().st_size <= _LARGEST_COPIED
            about = path.suffix not in {".py", ".bin", ".safetensors"} and not path.name.endswith(".index.json")
            if small and about and path.name not in {"config.json", folders.SUMS, manifest.MANIFEST, *weights}:
                with folders.reading(path):
                    content = path.read_bytes()
                (self._target / path.name).write_bytes(content)

    def _write_json(self, name: str, value: object) -> None:
        (self._target / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _matrix(name: str, tensor: Tensor, bits: int) -> tuple[dict[str, Tensor], float]:
    """Quantise a matrix by blocks of rows; return what is stored of it, and its relative error."""
    pieces: list[tuple[Tensor, ...]] = []
    wrong = whole = 0.0
    for rows in _blocks(tensor):
        piece: tuple[Tensor, ...] = arithmetic.to_int4(rows) if bits == 4 else arithmetic.to_int8(rows)  # noqa: PLR2004
        back = arithmetic.from_int4(*piece) if bits == 4 else arithmetic.from_int8(*piece)  # noqa: PLR2004
        squares = arithmetic.error(rows, back)
        wrong, whole = wrong + squares[0], whole + squares[1]
        pieces.append(piece)
    names = (name, name + SCALE, name + ZERO)
    found = {each: torch.cat(parts) for each, parts in zip(names, zip(*pieces, strict=True), strict=False)}
    return found, math.sqrt(wrong / whole) if whole else 0.0


def _blocks(tensor: Tensor) -> Iterator[Tensor]:
    rows = max(1, _BLOCK_VALUES // tensor.shape[1])
    for start in range(0, tensor.shape[0], rows):
        yield tensor[start : start + rows]
