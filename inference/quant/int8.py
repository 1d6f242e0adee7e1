"""Linear layers over weights in eight bits, multiplied as integers.

Activations are taken as integers of sixteen bits, cut into two halves of eight, so that both products are exact: sums
of integers have no rounding that depends on the order, and so not on who else is in the batch.

Where activations are float32, every row goes this way, a prompt's too, by oneDNN's kernel over weights in its own
order. Where they are bfloat16, a prompt is multiplied by weights that are made wide again: a processor that computes
bfloat16 itself is faster so (decisions 13 and 18).

A processor without VNNI cuts such sums off, and exact ones take it ten times as long. There a kernel widens weights in
registers, each row by itself, and a prompt is multiplied by wide weights (decision 22).
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear

from inference.quant.linear import BLOCK, FEW, ROWS, QuantLinear
from inference.quant.precision import Precision

_HALF = 256
_MOST = 127 * _HALF
_MIDDLE = 128
_SIGNS = -0x8000
"""Flips the sign of sixteen bits: what was from -32,768 up is from 0 up then."""
_TINY = 1e-20
_TOGETHER = 256
"""Rows of a prompt that are multiplied as integers together; the kernel takes two for each."""


class Halves:
    """Activations (rows x columns) as 16-bit integers, cut into two halves of eight bits.

    Layers that read the same activations share one, so that they are cut once. Nothing is kept when the last of them
    has read: of a long prompt that would be gigabytes in all layers, and somebody's words while nobody asks.
    """

    def __init__(self) -> None:
        self.readers = 0
        """Layers that share it; each reads the same activations once."""
        self._left = 0
        self._of: Tensor | None = None
        self._found: tuple[Tensor, Tensor] | None = None

    def of(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Return the halves (2 x rows x columns, uint8, each 128 more: low ones, high ones) and each row's scale.

        A row is about (256 x high + low) x scale; what is lost is at most 1/65,000 of the row's largest value.
        """
        if self._found is None or self._of is not activations:
            self._of, self._found, self._left = activations, _halves(activations), self.readers
        found = self._found
        self._left -= 1
        if self._left == 0:
            self._of = self._found = None
        return found


def _halves(activations: Tensor) -> tuple[Tensor, Tensor]:
    rows = activations.reshape(-1, activations.shape[-1]).float().contiguous()
    low, high = rows.aminmax(dim=1)
    scale = torch.maximum(high, -low).clamp_min_(_TINY).mul_(1 / _MOST)
    # 128 more, so that the low byte, taken without a sign, is 128 more than the low half; so is the high one then.
    whole = (rows / scale[:, None]).round_().add_(_MIDDLE).to(torch.int16).bitwise_xor_(_SIGNS)
    # Little-endian, as every processor is that torch runs on: the low byte comes first.
    halves = whole.view(torch.uint8).view(*whole.shape, 2)
    return halves.permute(2, 0, 1).contiguous(), scale


class Int8Linear(QuantLinear):
    """Weights in eight bits, one scale a row."""

    weight_scale: Tensor
    _zeros: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool, halves: Halves | None = None) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self._halves = halves or Halves()
        self._halves.readers += 1
        self._ordered: Tensor | None = None
        self._widening: torch.dtype | None = None
        self.register_buffer("weight", torch.empty(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.empty(out_features))
        self.register_buffer("_zeros", torch.zeros(out_features, dtype=torch.int64), persistent=False)

    def prepare(self, precision: Precision) -> bool:
        """Put the weights into oneDNN's order where activations are float32 and its sums are exact."""
        if not kernel_is_exact():
            self._widening = precision.kernel
        elif precision.activations == torch.float32:
            self._ordered = torch.ops.onednn.qlinear_prepack(self.weight, None)
            # They live in the kernel's own memory from here on; a scale would keep the whole file mapped.
            self.weight, self.weight_scale = self.weight.new_empty(0), self.weight_scale.clone()
        return self._ordered is not None

    def _product(self, activations: Tensor, room: Tensor | None) -> Tensor:
        count = activations.numel() // self.in_features
        if count <= FEW:
            return self._few(activations)
        rows = activations.reshape(count, -1)
        found = self._room(rows, room)
        if self._ordered is not None:
            halves, scale = self._halves.of(activations)
            for top in range(0, count, _TOGETHER):
                some = slice(top, top + _TOGETHER)
                self._joined(self._sums(halves[:, some]), scale[some], found[some])
        else:
            self._widened(rows, found)
        return found

    def _few(self, activations: Tensor) -> Tensor:
        if self._widening is not None:
            return self._widened_in_registers(activations, self._widening)
        halves, scale = self._halves.of(activations)
        found = scale.new_empty(len(scale), self.out_features)
        return self._joined(self._sums(halves), scale, found).to(activations.dtype)

    def _sums(self, halves: Tensor) -> Tensor:
        """Return the products of both halves with the weights as they are meant (2 x rows x `out_features`)."""
        rows = halves.reshape(-1, self.in_features)
        if self._ordered is not None:
            found = _scaled_product(rows, self._ordered, self.weight_scale, self._zeros)
        else:
            # With the weights first, each is read from memory once, in its own order.
            columns = (rows ^ _MIDDLE).view(torch.int8).t().contiguous()
            sums = torch._int_mm(self.weight, columns)  # noqa: SLF001 - has no other name
            found = sums.t().float().mul_(self.weight_scale)
        return found.view(2, -1, self.out_features)

    def _widened_in_registers(self, activations: Tensor, given: torch.dtype) -> Tensor:
        rows = activations.reshape(-1, self.in_features).to(given)
        found: Tensor = torch._weight_int8pack_mm(rows, self.weight, self.weight_scale.to(given))  # noqa: SLF001
        return found.to(activations.dtype)

    @staticmethod
    def _joined(sums: Tensor, scale: Tensor, found: Tensor) -> Tensor:
        return torch.add(sums[0], sums[1], alpha=_HALF, out=found).mul_(scale[:, None])

    def _widened(self, rows: Tensor, found: Tensor) -> None:
        """Multiply by wide weights, a block after the other."""
        wide = rows.new_empty(min(BLOCK, self.out_features), self.in_features)
        # In one type: a product of two takes four times as long. `to_int8` makes scales that lose nothing by it.
        scale = self.weight_scale.to(rows.dtype)
        for start in range(0, self.out_features, BLOCK):
            codes = self.weight[start : start + BLOCK]
            block = wide[: codes.shape[0]].copy_(codes)
            end = start + codes.shape[0]
            for top in range(0, rows.shape[0], ROWS):
                some = slice(top, top + ROWS)
                torch.mul(linear(rows[some], block), scale[start:end], out=found[some, start:end])


def _scaled_product(rows: Tensor, ordered: Tensor, scale: Tensor, zeros: Tensor) -> Tensor:
    """Multiply rows of bytes, each taken as 128 less, by weights in oneDNN's order; float32, scaled by output."""
    found: Tensor = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, _MIDDLE, ordered, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return found


@cache
def kernel_is_exact() -> bool:
    """Say whether oneDNN's kernel sums exactly on this processor: one without VNNI cuts sums off at sixteen bits."""
    columns = 64
    rows = torch.tensor([[0], [255], [128]], dtype=torch.uint8).repeat(1, columns)
    rows[2, ::2] = 255
    weight = torch.tensor([[127], [-127], [1]], dtype=torch.int8).repeat(1, columns)
    exact = (rows.int() - _MIDDLE) @ weight.int().t()
    try:
        ordered = torch.ops.onednn.qlinear_prepack(weight, None)
        found = _scaled_product(rows, ordered, torch.ones(3), torch.zeros(3, dtype=torch.int64))
    except (RuntimeError, AttributeError):
        return False
    return torch.equal(found, exact.float())
