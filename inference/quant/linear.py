"""What linear layers over weights of fewer bits have in common; each kind has a module: `int8`, `int4`, `float16`.

Up to `FEW` rows (decoding) each row's result is the same bit by bit whoever else is in the batch. Kernels are torch's.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from inference.quant.precision import Precision

FEW = 64
"""Most rows that are taken as decoding; no engine decodes more requests together."""

BLOCK = 1024
"""Rows of weights that are made wide together: few enough to stay in the processor's cache."""
ROWS = 512
"""Rows of a prompt that are multiplied together; twice as many took up to 1.8 times as long a row."""


class QuantLinear(nn.Module, ABC):
    """A linear layer over weights of fewer bits: rows of `in_features` → rows of `out_features`.

    Weights are loaded as a file has them, and `prepare` puts them into the order of the kernel.
    """

    bias: Tensor | None
    weight: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.register_parameter("bias", nn.Parameter(torch.empty(out_features)) if bias else None)

    @abstractmethod
    def prepare(self, precision: Precision) -> bool:
        """Put the weights into the kernel's order, once, after loading; return whether they are a copy now."""

    def forward(self, activations: Tensor, room: Tensor | None = None) -> Tensor:
        """Return the product, in the type of the activations; where it is large, in `room` (an earlier product)."""
        found = self._product(activations, room)
        if self.bias is not None:
            found = found + self.bias
        return found.view(*activations.shape[:-1], self.out_features)

    @abstractmethod
    def _product(self, activations: Tensor, room: Tensor | None) -> Tensor:
        """Multiply all rows (… x `in_features`); the result may lie in `room`, which has its size."""

    def _room(self, rows: Tensor, room: Tensor | None) -> Tensor:
        """Return where the product of a prompt's rows goes (rows x `out_features`)."""
        return rows.new_empty(rows.shape[0], self.out_features) if room is None else room.view(rows.shape[0], -1)
