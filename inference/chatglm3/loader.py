"""A checkpoint folder in ChatGLM3's published layout, or one quantised from it → GlmForCausalLM.

Files are memory mapped and read shard by shard, so that there are never two copies of the weights; a tensor that has
the wanted type already stays mapped. Nothing remote is asked, no code of the folder runs, and every tensor's name,
shape and values are checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import GlmForCausalLM
from transformers.models.glm.modeling_glm import GlmRotaryEmbedding

from inference.chatglm3 import folder as folders
from inference.chatglm3.config import ConfigError, Published, read_published, to_glm
from inference.chatglm3.layout import DROPPED, LayoutError, from_published, published_shapes
from inference.chatglm3.tokenizer import Tokenizer, TokenizerError
from inference.engine import devices
from inference.engine.base import ModelFolderError
from inference.quant import manifest as manifests
from inference.quant import precision as precisions
from inference.quant.install import install, prepare
from inference.quant.plan import FLOATS, Stored, is_part, stored
from inference.quant.precision import Precision

_EOS = 2
_ALLOCATOR = "DefaultCPUAllocator"
"""Stands in the error, of no type of its own, of torch's allocator when the system gives it no memory."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    model: GlmForCausalLM
    published: Published
    tokenizer: Tokenizer | None
    stop_ids: tuple[int, ...]
    revision: str
    precision: Precision
    device: torch.device = devices.CPU


def load(folder: Path, dtype: str = "auto", *, device: str = "cpu", tokenizer_needed: bool = True) -> Checkpoint:
    """Load a folder; raise `ModelFolderError` that names the file, key or tensor that is missing or wrong.

    `dtype` is `auto` or one of `precision.PRECISIONS`, `device` is `auto`, `cpu` or `cuda`. Raises `NoDeviceError`
    where the device is absent or cannot compute so.
    """
    try:
        published = read_published(folder)
        weights = folders.find_weights(folder)
        hashes = _hashes(folder)
        tokenizer = _tokenizer(folder, published, needed=tokenizer_needed)
        stop_ids = tokenizer.specials.stop_ids if tokenizer else (_EOS,)
        place = devices.choose(device, quantised=published.quantization_config is not None)
        chosen = precisions.choose(dtype, published.parameters, place)
        model = _model(published, weights, stop_ids, Target(place, chosen))
        revision = folders.revision(folder, weights, hashes)
    except (ConfigError, TokenizerError, LayoutError, folders.FolderError) as error:
        raise ModelFolderError(str(error)) from None
    except torch.OutOfMemoryError:
        free = devices.memory_says(place)
        raise ModelFolderError(f"{folder}: the GPU has not enough memory for the weights ({free})") from None
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and _ALLOCATOR not in str(error):
            raise
        raise ModelFolderError(f"{folder}: this machine has not enough memory for the weights") from None
    return Checkpoint(model, published, tokenizer, stop_ids, revision, chosen, place)


class Target(NamedTuple):
    """Where the weights go, and in which precision they are there."""

    device: torch.device
    precision: Precision


class Found(NamedTuple):
    """One tensor of a folder, under its published name."""

    path: Path
    name: str
    tensor: Tensor


def checked(published: Published, weights: folders.Weights) -> Iterator[Found]:
    """Yield every tensor, file by file, mapped into memory, once it is known to be as it must.

    Raises `LayoutError` or `FolderError` that names the first that is not; that one is missing is known at the end.
    """
    expected = stored(published_shapes(published.shapes), published.quantization_config)
    seen: dict[str, str] = {}
    for path in weights.files:
        for name, tensor in folders.tensors(path):
            if name == DROPPED:
                continue
            _check(name, tensor, expected, path)
            if name in seen:
                raise LayoutError(f"tensor {name} is in {seen[name]} and in {path.name}")
            seen[name] = path.name
            yield Found(path, name, tensor)
    if missing := [name for name in expected if name not in seen]:
        raise LayoutError(f"tensor {missing[0]} is missing ({len(missing)} in all)")


def _hashes(folder: Path) -> dict[str, str]:
    """Hash the files that a manifest names, which must be as it says; without a manifest nothing is hashed here."""
    manifest = manifests.read(folder)
    if manifest is None:
        return {}
    there = {name: folder / name for name in manifest.files if (folder / name).is_file()}
    # Sizes first: a file that claims to be huge is not read to its end.
    same = {name: path for name, path in there.items() if path.stat().st_size == manifest.files[name].bytes}
    hashes = dict.fromkeys(there, "") | {name: folders.sha256(path) for name, path in same.items()}
    if problems := manifests.differences(manifest, hashes):
        raise folders.FolderError(f"{folder}: {problems[0]}")
    return hashes


def _tokenizer(folder: Path, published: Published, *, needed: bool) -> Tokenizer | None:
    path = folder / "tokenizer.model"
    if not needed and not path.exists():
        return None
    tokenizer = Tokenizer(path)
    if tokenizer.specials.count > published.padded_vocab_size:
        raise TokenizerError(
            f"{path} has {tokenizer.specials.count} tokens with the special ones, "
            f"but padded_vocab_size is {published.padded_vocab_size}"
        )
    return tokenizer


def _model(published: Published, weights: folders.Weights, stop_ids: tuple[int, ...], target: Target) -> GlmForCausalLM:
    config = to_glm(published, stop_ids)
    with torch.device("meta"):
        model = GlmForCausalLM(config)
        install(model, published.shapes, published.quantization_config, target.precision)
    for _, of_file in groupby(checked(published, weights), key=lambda found: found.path):
        state: dict[str, Tensor] = {}
        for _, name, tensor in of_file:
            state |= dict(from_published(name, _kept(name, tensor, target), published.shapes))
        model.load_state_dict(state, strict=False, assign=True)
    prepare(model, target.precision)
    # The rotary table is no parameter: on the meta device it has no values yet.
    model.model.rotary_emb = GlmRotaryEmbedding(config).to(target.device)
    model.requires_grad_(requires_grad=False)
    model.train(mode=False)
    return model


def _kept(name: str, tensor: Tensor, target: Target) -> Tensor:
    """Return a tensor of a file in the type in which it is kept; quantised ones stay as they are."""
    if is_part(name, tensor.dtype):
        return tensor
    if tensor.ndim == 1:
        return tensor.to(target.device, target.precision.activations)
    wanted = target.precision.weights
    if wanted != torch.float16 or tensor.dtype == wanted:
        return tensor.to(target.device, wanted)
    if max(map(abs, torch.stack(tensor.aminmax()).tolist())) > torch.finfo(wanted).max:
        raise LayoutError(f"tensor {name} has values too large for float16: start with --dtype bfloat16 or float32")
    # Its layer turns it into float16 when it is put in order, one at a time; an embedding is as good in bfloat16.
    return tensor if tensor.dtype == torch.bfloat16 else tensor.to(wanted)


def _check(name: str, tensor: Tensor, expected: dict[str, Stored], path: Path) -> None:
    if name not in expected:
        raise LayoutError(f"{path} has an unknown tensor {name[:200]}")
    shape, dtype = expected[name].shape, expected[name].dtype
    if tuple(tensor.shape) != shape:
        raise LayoutError(f"{path}: tensor {name} has shape {tuple(tensor.shape)}, expected {shape}")
    if tensor.dtype != dtype and (dtype is not None or tensor.dtype not in FLOATS):
        wanted = dtype or "floating point of 16 bits or more"
        raise LayoutError(f"{path}: tensor {name} has type {tensor.dtype}, expected {wanted}")
    if not folders.finite(tensor):
        raise LayoutError(f"{path}: tensor {name} has values that are not finite")
