"""Linear layers over weights in float16, computed in float32: for processors that do not compute bfloat16 themselves.

Weights are read from memory in sixteen bits and widened in registers (fbgemm's kernel, in torch on x86). A row's result
is the same bit by bit in every batch: where the kernel sums few rows in another order, rows of zeros fill them up.
ChatGLM3's published weights are float16, so nothing of them is lost.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from inference.quant.linear import FEW, QuantLinear
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
        rows = activations.reshape(-1, self.in_features)
        count = rows.shape[0]
        if spare := -count % rows_together():
            rows = pad(rows, (0, 0, 0, spare))
        found: Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, self._ordered)
        return found[:count]


@cache
def rows_together() -> int:
    """Return of how many rows, or a multiple, a product must be so that this processor's kernel sums every row alike.

    One where vectors have 512 bits, three where they have 256: kernels for one and two rows sum in another order there
    than those for three to six. One as well where nothing tried is alike; engines try whole layers themselves.
    """
    numbers = torch.Generator().manual_seed(0)
    weight, rows = (torch.randn(count, 4 * FEW, generator=numbers) for count in (FEW, 2 * FEW))
    ordered = torch.ops.quantized.linear_prepack_fp16(weight, None)
    whole = torch.ops.quantized.linear_dynamic_fp16(rows, ordered)

    def alike(count: int) -> bool:
        return torch.equal(torch.ops.quantized.linear_dynamic_fp16(rows[:count], ordered), whole[:count])

    return next((step for step in (1, 2, 3, 4, 6) if all(alike(count) for count in range(step, 2 * FEW, step))), 1)
