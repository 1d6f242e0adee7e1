"""The network in PyTorch: a BERT encoder (6 layers, hidden 384) with mean and maximum pooling and nine outputs.

Written out here, rather than taken from a library, because the ONNX graph is built from these weights by name.
"""

from dataclasses import dataclass
from typing import Any

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


class Layer(nn.Module):
    """One encoder layer, post-norm, as in Devlin et al. 2018."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.hidden)
        self.norm1 = nn.LayerNorm(shape.hidden, eps=1e-12)
        self.up = nn.Linear(shape.hidden, shape.inner)
        self.down = nn.Linear(shape.inner, shape.hidden)
        self.norm2 = nn.LayerNorm(shape.hidden, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x` is (batch, length, hidden), `mask` (batch, 1, 1, length) true where a token stands."""
        batch, length, hidden = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = f.scaled_dot_product_attention(q, k, v, attn_mask=mask)
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
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(2 * shape.hidden, shape.outputs)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`ids` and `mask` are (batch, length); returns logits (batch, outputs)."""
        x = self.words(ids) + self.positions.weight[: ids.shape[1]]
        x = self.dropout(self.norm(x))
        keys = mask[:, None, None, :].bool()
        for layer in self.layers:
            x = layer(x, keys)
        weights = mask[:, :, None].to(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1)
        peak = (x + (weights - 1) * 1e4).amax(1)
        logits: Tensor = self.head(self.dropout(torch.cat([mean, peak], dim=1)))
        return logits


def load_minilm(network: Network, weights: dict[str, Tensor]) -> None:
    """Copy MiniLM's encoder into `network`; word embeddings are set apart, since the vocabulary differs."""
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
