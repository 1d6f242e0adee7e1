"""The network in PyTorch: a BERT encoder (6 layers, hidden 384) with mean and maximum pooling and nine outputs.

Written out here, rather than taken from a library, because the ONNX graph is built from these weights by name.

On a CPU two things are faster written out than taken from PyTorch (together 1.4 times the tokens per second): attention
as plain products (the backward pass of the fused one is slow on short rows), and dropout from a pool of random bits.
"""

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as f


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the encoder."""

    vocabulary: int
    hidden: int = 384
    layers: int = 6
    heads: int = 12
    inner: int = 1536
    positions: int = 256
    outputs: int = 9
    """Eight labels and the harm score."""


class Dropout(nn.Module):
    """Dropout whose mask is a stretch, at a random place, of a pool of random bits made once."""

    POOL = 1 << 22

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.pool = (torch.rand(self.POOL) >= share).to(torch.bfloat16) / (1 - share)

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of `x` while training."""
        if not self.training:
            return x
        room = self.POOL - x.numel()
        if room <= 0:
            return f.dropout(x, self.share)
        at = int(torch.randint(0, room, (1,)))
        return x * self.pool[at : at + x.numel()].view(x.shape).to(x.dtype)


class Layer(nn.Module):
    """One encoder layer, post-norm, as in Devlin et al. 2018."""

    def __init__(self, shape: Shape, dropout: Dropout) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.hidden)
        self.norm1 = nn.LayerNorm(shape.hidden, eps=1e-12)
        self.up = nn.Linear(shape.hidden, shape.inner)
        self.down = nn.Linear(shape.inner, shape.hidden)
        self.norm2 = nn.LayerNorm(shape.hidden, eps=1e-12)
        self.dropout = dropout

    def forward(self, x: Tensor, away: Tensor) -> Tensor:
        """`x` is (batch, length, hidden), `away` (batch, 1, 1, length) far below zero where no token stands."""
        batch, length, hidden = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(hidden // self.heads) + away.to(q.dtype)
        seen = torch.matmul(torch.softmax(scores, -1, dtype=scores.dtype), v)
        x = self.norm1(x + self.dropout(self.out(seen.transpose(1, 2).reshape(batch, length, hidden))))
        normed: Tensor = self.norm2(x + self.dropout(self.down(f.gelu(self.up(x)))))
        return normed


class Network(nn.Module):
    """Token ids to nine logits."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=1e-12)
        self.dropout = Dropout(0.1)
        self.layers = nn.ModuleList(Layer(shape, self.dropout) for _ in range(shape.layers))
        self.head = nn.Linear(2 * shape.hidden, shape.outputs)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`ids` and `mask` are (batch, length); returns the tokens' states (batch, length, hidden)."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]]
        x = self.dropout(self.norm(x))
        away = (mask[:, None, None, :] - 1) * 1e4
        for layer in self.layers:
            x = layer(x, away)
        return cast("Tensor", x)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`ids` and `mask` are (batch, length); returns logits (batch, outputs)."""
        x = self.encode(ids, mask)
        weights = mask[:, :, None].to(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1)
        peak = (x + (weights - 1) * 1e4).amax(1)
        logits: Tensor = self.head(self.dropout(torch.cat([mean, peak], dim=1)))
        return logits


def load_bert(network: Network, weights: dict[str, Tensor]) -> None:
    """Copy a BERT's encoder into `network`; word embeddings are set apart, since the vocabulary differs."""
    with torch.no_grad():
        kind = weights["embeddings.token_type_embeddings.weight"][0]
        network.positions.weight.copy_(
            weights["embeddings.position_embeddings.weight"][: network.shape.positions] + kind
        )
        _copy(network.norm, weights, "embeddings.LayerNorm")
        for at, layer in enumerate(network.layers):
            base = f"encoder.layer.{at}."
            for kind_of in ("weight", "bias"):
                parts = [weights[f"{base}attention.self.{name}.{kind_of}"] for name in ("query", "key", "value")]
                getattr(layer.qkv, kind_of).copy_(torch.cat(parts))
            _copy(layer.out, weights, base + "attention.output.dense")
            _copy(layer.norm1, weights, base + "attention.output.LayerNorm")
            _copy(layer.up, weights, base + "intermediate.dense")
            _copy(layer.down, weights, base + "output.dense")
            _copy(layer.norm2, weights, base + "output.LayerNorm")
        network.head.weight.normal_(0, 0.02)
        network.head.bias.fill_(-2.0)


def _copy(module: Any, weights: dict[str, Tensor], name: str) -> None:
    module.weight.copy_(weights[name + ".weight"])
    module.bias.copy_(weights[name + ".bias"])
