"""A checkpoint folder in ChatGLM3's published layout → GlmForCausalLM.

Files are memory mapped and read shard by shard, so that there are never two copies of the weights; a tensor that has
the wanted type already stays mapped. Nothing remote is asked, no code of the folder runs, and every tensor's name,
shape and values are checked.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import GlmForCausalLM
from transformers.models.glm.modeling_glm import GlmRotaryEmbedding

from inference.chatglm3 import folder as folders
from inference.chatglm3.config import ConfigError, Published, read_published, to_glm
from inference.chatglm3.layout import DROPPED, LayoutError, from_published, published_shapes
from inference.chatglm3.tokenizer import Tokenizer, TokenizerError
from inference.engine.base import ModelFolderError

_SMALL_BYTES = 2**30
_EOS = 2
_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    model: GlmForCausalLM
    published: Published
    tokenizer: Tokenizer | None
    stop_ids: tuple[int, ...]
    revision: str
    dtype: torch.dtype


def load(folder: Path, dtype: str = "auto", *, tokenizer_needed: bool = True) -> Checkpoint:
    """Load a folder; raise `ModelFolderError` that names the file, key or tensor that is missing or wrong.

    `auto` computes in bfloat16 when the weights are large (decoding is bound by memory) and in float32 when small.
    """
    try:
        published = read_published(folder)
        weights = folders.find_weights(folder)
        tokenizer = _tokenizer(folder, published, needed=tokenizer_needed)
        stop_ids = tokenizer.specials.stop_ids if tokenizer else (_EOS,)
        chosen = _dtype(dtype, published)
        model = _model(published, weights, stop_ids, chosen)
        revision = folders.revision(folder, weights)
    except (ConfigError, TokenizerError, LayoutError, folders.FolderError) as error:
        raise ModelFolderError(str(error)) from None
    return Checkpoint(model, published, tokenizer, stop_ids, revision, chosen)


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


def _dtype(wanted: str, published: Published) -> torch.dtype:
    if wanted == "auto":
        size = sum(torch.Size(shape).numel() for shape in published_shapes(published.shapes).values())
        return torch.float32 if 2 * size < _SMALL_BYTES else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def _model(
    published: Published, weights: folders.Weights, stop_ids: tuple[int, ...], dtype: torch.dtype
) -> GlmForCausalLM:
    config = to_glm(published, stop_ids)
    with torch.device("meta"):
        model = GlmForCausalLM(config)
    expected = published_shapes(published.shapes)
    seen: dict[str, str] = {}
    for path in weights.files:
        state: dict[str, Tensor] = {}
        for name, tensor in folders.tensors(path):
            if name == DROPPED:
                continue
            _check(name, tensor, expected, path)
            if name in seen:
                raise LayoutError(f"tensor {name} is in {seen[name]} and in {path.name}")
            seen[name] = path.name
            state |= {own: part.to(dtype) for own, part in from_published(name, tensor, published.shapes)}
        model.load_state_dict(state, strict=False, assign=True)
    if missing := [name for name in expected if name not in seen]:
        raise LayoutError(f"tensor {missing[0]} is missing ({len(missing)} in all)")
    # The rotary table is no parameter: on the meta device it has no values yet.
    model.model.rotary_emb = GlmRotaryEmbedding(config)
    model.requires_grad_(requires_grad=False)
    model.train(mode=False)
    return model


def _check(name: str, tensor: Tensor, expected: dict[str, tuple[int, ...]], path: Path) -> None:
    if name not in expected:
        raise LayoutError(f"{path} has an unknown tensor {name[:200]}")
    if tuple(tensor.shape) != expected[name]:
        raise LayoutError(f"{path}: tensor {name} has shape {tuple(tensor.shape)}, expected {expected[name]}")
    if tensor.dtype not in _DTYPES:
        raise LayoutError(f"{path}: tensor {name} has type {tensor.dtype}, expected floating point of 16 bits or more")
    if not bool(torch.isfinite(tensor).all()):
        raise LayoutError(f"{path}: tensor {name} has values that are not finite")
