"""Linear layers over weights in float16, computed in float32: for processors that do not compute bfloat16 themselves.

Weights are read from memory in sixteen bits and widened in registers (fbgemm's kernel, in torch on x86). A row's result
is the same bit by bit in every batch. ChatGLM3's published weights are float16, so nothing of them is lost.
"""

import torch
from torch import Tensor

from inference.quant.linear import QuantLinear
from inference.quant.precision import Precision


class Float16Linear(QuantLinear):
    """Weights in sixteen bits, activations in float32."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.register_buffer("weight", torch.empty(out_features, in_features, dtype=torch.float16))
        self._ordered: torch.ScriptObject | None = None

    def prepare(self, precision: Precision) -> bool:  # noqa: ARG002 - there is but one
        """Put the weights into the kernel's order; none may be larger than float16 holds."""
        self._ordered = torch.ops.quantized.linear_prepack_fp16(self.weight.float(), None)
        # They live in the kernel's own memory from here on.
        self.weight = self.weight.new_empty(0)
        return True

    def _product(self, activations: Tensor, room: Tensor | None) -> Tensor:  # noqa: ARG002 - the kernel makes its own
        found: Tensor = torch.ops.quantized.linear_dynamic_fp16(activations, self._ordered)
        return found
