"""Key-value memory of requests that are decoded together, and the attention that reads it.

Each request has memory of its own (nothing is shared between users), and attention runs for each request over exactly
its own tokens, without padding: what one request computes does not depend on who else is in the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, pad, scaled_dot_product_attention, silu
from transformers import AttentionInterface, GlmConfig, GlmForCausalLM
from transformers.models.glm.modeling_glm import GlmDecoderLayer

from inference.engine import devices
from inference.quant.linear import QuantLinear

ATTENTION = "attest_slots"
_VARIED_ROWS = 256
"""Rows of a matrix that measures kernels; a longer one repeats them."""


class Memory:
    """Keys and values of one request: `capacity` tokens for every layer."""

    def __init__(
        self, config: GlmConfig, capacity: int, dtype: torch.dtype, device: torch.device = devices.CPU
    ) -> None:
        shape = (config.num_hidden_layers, config.num_key_value_heads or 1, capacity, config.head_dim or 1)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0
        """Tokens stored."""


@dataclass(frozen=True)
class Step:
    """One pass through the model: either several tokens of one request, or one token of each of several."""

    memories: tuple[Memory, ...]
    mask: Tensor | None = None
    """For several tokens after others: which tokens each of them sees (tokens × all, bool)."""


def register(model: GlmForCausalLM) -> None:
    """Make a model use this attention; every pass then needs a `step`."""
    AttentionInterface.register(ATTENTION, _attend)
    model.set_attn_implementation(ATTENTION)


class Pass:
    """One pass through the model (rows × tokens), part by part, so that it can pause between two of them.

    A layer has three parts: its attention, and the first and the second matrix of its feed-forward. What a pass
    computes does not depend on where it paused.
    """

    def __init__(self, model: GlmForCausalLM, ids: Tensor, positions: Tensor, step: Step) -> None:
        self._model = model
        self._step = step
        # The embedding may be kept in fewer bits than activations have.
        self._hidden: Tensor = model.model.embed_tokens(ids).to(model.model.norm.weight.dtype)
        self._rotary: tuple[Tensor, Tensor] = model.model.rotary_emb(self._hidden, position_ids=positions)
        # What the feed-forward needs between its matrices, for every layer anew: blocks this large go back to the
        # system when they are freed, and come again page by page, which took a tenth of a quantised layer's time.
        self._between: Tensor | None = None
        self._gated: Tensor | None = None
        self._parts = [partial(part, self, layer) for layer in model.model.layers for part in self.PARTS]
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether every layer has run."""
        return self._next == len(self._parts)

    def advance(self) -> None:
        """Run the next part of a layer."""
        self._parts[self._next]()
        self._next += 1

    # The three together are `GlmDecoderLayer.forward` of transformers.

    def _attend(self, layer: GlmDecoderLayer) -> None:
        found, _ = layer.self_attn(
            layer.input_layernorm(self._hidden), position_embeddings=self._rotary, attest_step=self._step
        )
        self._hidden = self._hidden + found

    def _widen(self, layer: GlmDecoderLayer) -> None:
        matrix: torch.nn.Module = layer.mlp.gate_up_proj
        rows = layer.post_attention_layernorm(self._hidden)
        self._between = matrix(rows, self._between) if isinstance(matrix, QuantLinear) else matrix(rows)

    def _narrow(self, layer: GlmDecoderLayer) -> None:
        gate, up = self._between.chunk(2, dim=-1)  # type: ignore[union-attr]  # `_widen` ran before
        self._gated = torch.mul(silu(gate, inplace=True), up, out=self._gated)
        self._hidden = self._hidden + layer.mlp.down_proj(self._gated)

    PARTS = (_attend, _widen, _narrow)

    def logits(self) -> Tensor:
        """Return the logits after each row's last token in fp32 (rows × vocabulary), once every layer has run.

        They are in the processor's memory, where tokens are chosen.
        """
        found: Tensor = self._model.lm_head(self._model.model.norm(self._hidden[:, -1]))
        return found.float().cpu()


class Reading:
    """A chunk of one request's prompt on its way through the layers."""

    def __init__(self, model: GlmForCausalLM, memory: Memory, ids: list[int]) -> None:
        start, count = memory.length, len(ids)
        self._device = place = memory.keys.device
        mask: Tensor | None = None
        if start and count > 1:
            mask = torch.ones(count, start + count, dtype=torch.bool, device=place).tril(diagonal=start)
        positions = torch.arange(start, start + count, device=place)[None]
        self._pass = Pass(model, torch.tensor([ids], device=place), positions, Step((memory,), mask))
        self._memory = memory
        self.count = count
        """Tokens of the chunk."""

    def advance(self) -> bool:
        """Run a part of a layer; return whether the chunk is read, and then count it in the request's memory.

        A GPU is waited for: it would be given the whole chunk at once, and those that decode would wait behind it.
        """
        self._pass.advance()
        devices.wait(self._device)
        if self._pass.done:
            self._memory.length += self.count
        return self._pass.done

    def logits(self) -> Tensor:
        """Return the logits after the chunk's last token (1 × vocabulary)."""
        return self._pass.logits()


def prefill(model: GlmForCausalLM, memory: Memory, ids: list[int]) -> Tensor:
    """Read several tokens of one request at once; return the logits after the last one (1 × vocabulary)."""
    reading = Reading(model, memory, ids)
    while not reading.advance():
        pass
    return reading.logits()


def decode(model: GlmForCausalLM, memories: list[Memory], ids: list[int], quantum: int) -> Tensor:
    """Read one token of each request; return the logits (requests × vocabulary).

    The batch is filled up to a multiple of `quantum` rows, so that matrix products take the same path through their
    kernels whoever else is there (see `row_quantum`).
    """
    spare = -len(memories) % quantum
    place = memories[0].keys.device
    tokens = torch.tensor([[token] for token in ids] + [[0]] * spare, device=place)
    positions = torch.tensor([[memory.length] for memory in memories] + [[0]] * spare, device=place)
    whole = Pass(model, tokens, positions, Step(tuple(memories)))
    while not whole.done:
        whole.advance()
    for memory in memories:
        memory.length += 1
    return whole.logits()[: len(memories)]


def row_quantum(model: GlmForCausalLM, slots: int) -> int:
    """Find the number of rows to which batches are filled up so that a row's result never depends on the others.

    Matrix libraries choose kernels by the number of rows, and these differ in the last bits. This tries every shape of
    the model's matrices on this machine; if nothing smaller does, every batch has `slots` rows.
    """
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear | QuantLinear)]
    samples = list({(type(each), each.in_features, each.out_features): each for each in layers}.values())
    like = model.model.norm.weight
    for quantum in (1, 2, 4, 8, 16):
        if quantum >= slots:
            break
        if all(_stable(layer, quantum, slots, like) for layer in samples):
            return quantum
    return slots


def _stable(layer: torch.nn.Linear | QuantLinear, quantum: int, slots: int, like: Tensor) -> bool:
    most = slots + -slots % quantum
    generator = torch.Generator().manual_seed(0)
    product: Callable[[Tensor], Tensor] = layer
    if isinstance(layer, torch.nn.Linear):
        rows = _twice(torch.randn(most, layer.in_features // 2, generator=generator), layer.in_features, 1).to(like)
        product = _cancelling(layer, generator, like)
    else:
        rows = torch.randn(most, layer.in_features, generator=generator).to(like)
    whole = product(rows)
    return all(torch.equal(product(rows[:count]), whole[:count]) for count in range(quantum, most + 1, quantum))


def _cancelling(layer: torch.nn.Linear, generator: torch.Generator, like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a product of the layer's shape in which each term of a sum has its negative in the other half.

    What is left of a sum is then what rounding made of the order of its terms, so that two kernels are told apart. With
    the layer's own weights, sixteen bits hide the order in all but one of ten thousand results.
    """
    few = torch.randn(min(layer.out_features, _VARIED_ROWS), layer.in_features // 2, generator=generator)
    again = -(-layer.out_features // len(few))
    weight = _twice(few, layer.in_features, -1).to(like).repeat(again, 1)[: layer.out_features]
    bias = None if layer.bias is None else torch.zeros_like(layer.bias)
    return partial(linear, weight=weight, bias=bias)


def _twice(half: Tensor, width: int, sign: int) -> Tensor:
    """Return half a matrix beside itself, times `sign`, `width` columns in all."""
    return pad(torch.cat((half, sign * half), dim=1), (0, width - 2 * half.shape[1]))


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - the interface of transformers
    *,
    attest_step: Step,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention over each request's own memory. Shapes: query (rows, heads, tokens, size), keys with fewer heads."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    count = query.shape[2]
    # Rows without a memory only fill the batch up; their result is never read.
    found = torch.zeros_like(query)
    for row, memory in enumerate(attest_step.memories):
        end = memory.length + count
        memory.keys[layer, :, memory.length : end] = key[row]
        memory.values[layer, :, memory.length : end] = value[row]
        found[row] = scaled_dot_product_attention(
            query[row : row + 1],
            memory.keys[layer : layer + 1, :, :end],
            memory.values[layer : layer + 1, :, :end],
            attn_mask=attest_step.mask,
            is_causal=attest_step.mask is None and count > 1,
            scale=scaling,
            enable_gqa=True,
        )[0]
    return found.transpose(1, 2).contiguous(), None
