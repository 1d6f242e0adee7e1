"""Tensor names and shapes of a ChatGLM3 checkpoint: as published ↔ as transformers' GlmForCausalLM holds them.

Pure functions over tensors, used by the loader (published → transformers) and by the exporter of the demo checkpoint
(transformers → published). Verified against the published architecture: logits are equal in fp32.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

PREFIX = "transformer."
DROPPED = "transformer.rotary_pos_emb.inv_freq"
"""A buffer that published files carry; the rotary table is computed from the configuration instead."""

OUTER = {
    "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "transformer.encoder.final_layernorm.weight": "model.norm.weight",
    "transformer.output_layer.weight": "lm_head.weight",
}
"""Published name → name in GlmForCausalLM, outside of the layers."""

LAYER = {
    "input_layernorm.weight": "input_layernorm.weight",
    "post_attention_layernorm.weight": "post_attention_layernorm.weight",
    "self_attention.dense.weight": "self_attn.o_proj.weight",
    "mlp.dense_h_to_4h.weight": "mlp.gate_up_proj.weight",
    "mlp.dense_4h_to_h.weight": "mlp.down_proj.weight",
}
"""The same within a layer (`transformer.encoder.layers.N.` → `model.layers.N.`), one to one."""

FUSED = "self_attention.query_key_value"
"""Published as one matrix, its rows being all queries, then all keys, then all values; no permutation."""

PROJECTIONS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")

BESIDE = ("_scale", "_zero")
"""Ends of the names of what stands beside a quantised matrix, one row for each of its rows (see `inference.quant`)."""

_PUBLISHED_LAYER = re.compile(r"transformer\.encoder\.layers\.(\d+)\.(.+)")
_OWN_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


class LayoutError(Exception):
    """A tensor has a name or a shape that the layout does not know; the message names it."""


@dataclass(frozen=True)
class Shapes:
    """The sizes that decide every tensor's shape."""

    vocab: int
    hidden: int
    ffn: int
    layers: int
    heads: int
    groups: int
    head_dim: int
    qkv_bias: bool = True

    @property
    def qkv_rows(self) -> tuple[int, int, int]:
        """Rows of queries, keys and values within the fused matrix."""
        return self.heads * self.head_dim, self.groups * self.head_dim, self.groups * self.head_dim


def published_shapes(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return every published tensor name with the shape that it must have (without the dropped buffer)."""
    fused_rows = sum(shapes.qkv_rows)
    inner: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (shapes.hidden,),
        f"{FUSED}.weight": (fused_rows, shapes.hidden),
        **({f"{FUSED}.bias": (fused_rows,)} if shapes.qkv_bias else {}),
        "self_attention.dense.weight": (shapes.hidden, shapes.heads * shapes.head_dim),
        "post_attention_layernorm.weight": (shapes.hidden,),
        "mlp.dense_h_to_4h.weight": (2 * shapes.ffn, shapes.hidden),
        "mlp.dense_4h_to_h.weight": (shapes.hidden, shapes.ffn),
    }
    found: dict[str, tuple[int, ...]] = {"transformer.embedding.word_embeddings.weight": (shapes.vocab, shapes.hidden)}
    for layer in range(shapes.layers):
        found |= {f"transformer.encoder.layers.{layer}.{name}": shape for name, shape in inner.items()}
    found["transformer.encoder.final_layernorm.weight"] = (shapes.hidden,)
    found["transformer.output_layer.weight"] = (shapes.vocab, shapes.hidden)
    return found


def split_fused(fused: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor, Tensor]:
    """Split a fused weight (rows × hidden) or bias (rows) into queries, keys and values; views, no copy."""
    if fused.shape[0] != sum(shapes.qkv_rows):
        raise LayoutError(f"{FUSED} has {fused.shape[0]} rows, expected {sum(shapes.qkv_rows)}")
    query, key, value = torch.split(fused, list(shapes.qkv_rows), dim=0)
    return query, key, value


def merge_fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Join queries, keys and values by rows: the inverse of `split_fused`."""
    return torch.cat((query, key, value), dim=0)


def from_published(name: str, tensor: Tensor, shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
    """Yield what one published tensor becomes in GlmForCausalLM: nothing, one tensor or three views of it.

    The scales of a quantised matrix go with its rows, and keep what their names end in.
    """
    if name == DROPPED:
        return
    for ending in BESIDE:
        if name.endswith(ending):
            for own, part in from_published(name.removesuffix(ending), tensor, shapes):
                yield own + ending, part
            return
    if name in OUTER:
        yield OUTER[name], tensor
        return
    match = _PUBLISHED_LAYER.fullmatch(name)
    if match is None:
        raise LayoutError(f"unknown tensor {name}")
    layer, inner = match.groups()
    if inner in LAYER:
        yield f"model.layers.{layer}.{LAYER[inner]}", tensor
    elif inner in {f"{FUSED}.weight", f"{FUSED}.bias"}:
        kind = inner.rpartition(".")[2]
        for projection, part in zip(PROJECTIONS, split_fused(tensor, shapes), strict=True):
            yield f"model.layers.{layer}.{projection}.{kind}", part
    else:
        raise LayoutError(f"unknown tensor {name}")


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a GlmForCausalLM's state under the published names, queries, keys and values fused again."""
    outer = {own: published for published, own in OUTER.items()}
    inner = {own: published for published, own in LAYER.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _OWN_LAYER.fullmatch(name)
        if name in outer:
            found[outer[name]] = tensor
        elif match is not None and match[2] in inner:
            found[f"transformer.encoder.layers.{match[1]}.{inner[match[2]]}"] = tensor
        elif match is not None and match[2].startswith(PROJECTIONS[0]):
            kind = match[2].rpartition(".")[2]
            parts = [state[f"model.layers.{match[1]}.{projection}.{kind}"] for projection in PROJECTIONS]
            found[f"transformer.encoder.layers.{match[1]}.{FUSED}.{kind}"] = merge_fused(parts[0], parts[1], parts[2])
        elif match is None or not match[2].startswith(PROJECTIONS[1:]):
            raise LayoutError(f"unknown tensor {name}")
    return found
