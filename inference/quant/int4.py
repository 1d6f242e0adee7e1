"""Linear layers over weights in four bits.

The kernel treats each row alone. A prompt is multiplied by weights that are made wide
again, a block of them at a time, in the type of its activations.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from inference.quant.arithmetic import unpack
from inference.quant.linear import BLOCK, FEW, ROWS, QuantLinear
from inference.quant.plan import GROUP
from inference.quant.precision import Precision

_PANELS = (64, 32)
"""Rows of weights that the kernel keeps together: where vectors have 512 bits, and 256."""
_KERNEL_ROWS = 16
"""It takes rows by so many."""
_SIXTEEN_BYTES = torch.complex128
"""The widest type that copies without a look at what it copies."""


class Int4Linear(QuantLinear):
    """Weights in four bits, a scale and a middle for each group of a row."""

    weight_scale: Tensor
    weight_zero: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        groups = (out_features, in_features // GROUP)
        self.register_buffer("weight", torch.empty(out_features, in_features // 2, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.empty(groups, dtype=torch.bfloat16))
        self.register_buffer("weight_zero", torch.empty(groups, dtype=torch.bfloat16))
        self._panel: int | None = None

    def prepare(self, precision: Precision) -> bool:
        """Put the weights into the kernel's order, for the activations that it is given."""
        spare = -self.out_features % _KERNEL_ROWS
        scales = torch.stack((self.weight_scale, self.weight_zero), dim=2).transpose(0, 1).to(precision.kernel)
        # Columns / group x rows x (scale, middle).
        self.weight_scale = pad(scales, (0, 0, 0, spare)).contiguous()
        codes = pad(unpack(self.weight).int(), (0, 0, 0, spare))
        self.weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)  # noqa: SLF001
        del self.weight_zero
        panel = panel_rows()
        self._panel = panel if panel is not None and self.out_features % panel == 0 else None
        return True

    def _product(self, activations: Tensor, room: Tensor | None) -> Tensor:
        rows = activations.reshape(-1, self.in_features)
        if rows.shape[0] <= FEW or self._panel is None:
            return self._few(rows)
        found = self._room(rows, room)
        self._many(rows, found, self._panel)
        return found

    def _few(self, rows: Tensor) -> Tensor:
        given = rows.to(self.weight_scale.dtype)
        found: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(given, self.weight, GROUP, self.weight_scale)  # noqa: SLF001
        return found[:, : self.out_features].to(rows.dtype)

    def _many(self, rows: Tensor, found: Tensor, panel: int) -> None:
        halves = found.view(rows.shape[0], -1, 2, panel // 2)
        panels = self.weight.view(-1, self.in_features, panel // 2)
        step = BLOCK // panel
        for first in range(0, panels.shape[0], step):
            codes = _widened(panels[first : first + step], rows.dtype)
            last = first + codes.shape[2] // (panel // 2)
            groups = codes.view(2, -1, GROUP, codes.shape[2])
            scale, middle = self._steps(first, last, panel).to(rows.dtype)
            # One pass and one rounding; a multiplication and an addition take half as long again.
            torch.addcmul(middle, groups, scale, out=groups)
            for top in range(0, rows.shape[0], ROWS):
                some = slice(top, top + ROWS)
                for half in range(2):
                    halves[some, first:last, half] = (rows[some] @ codes[half]).view(-1, last - first, panel // 2)

    def _steps(self, first: int, last: int, panel: int) -> Tensor:
        """Return scales and middles of some panels, as `_widened` orders weights (2 x halves x groups x 1 x rows)."""
        steps = self.weight_scale[:, first * panel : last * panel].view(-1, last - first, 2, panel // 2, 2)
        return steps.permute(4, 2, 0, 1, 3).reshape(2, 2, steps.shape[0], 1, -1)


def _widened(panels: Tensor, dtype: torch.dtype) -> Tensor:
    """Return codes less eight of panels in the kernel's order (panels x columns x half as many bytes as rows).

    A byte has row n of its panel in its low half and the row half a panel further in its high half. What comes back is
    2 (low, high) x columns x rows of those halves: in this order every step runs along whole rows, far faster than
    along those of one panel.
    """
    count, columns, half = panels.shape
    along = panels.view(_SIXTEEN_BYTES).transpose(0, 1).contiguous().view(torch.uint8).view(columns, -1)
    found = torch.empty(2, columns, count * half, dtype=dtype)
    found[0] = (along & 15).view(torch.int8).sub_(8)
    found[1] = (along >> 4).view(torch.int8).sub_(8)
    return found


@cache
def panel_rows() -> int | None:
    """Return how many rows a panel has in the order that this processor's kernel keeps weights in.

    It differs by the width of vectors; `None` where it is no order that `_widened` reads.
    """
    count = 2 * max(_PANELS)
    codes = torch.arange(count * GROUP, dtype=torch.int32).mul_(7).remainder_(15).view(count, GROUP)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)  # noqa: SLF001
    if packed.shape != (count, GROUP // 2):
        return None
    return next((panel for panel in _PANELS if torch.equal(_rows_of(packed, panel), codes.float() - 8)), None)


def _rows_of(packed: Tensor, panel: int) -> Tensor:
    """Read packed codes as panels of so many rows; return codes less eight (rows x columns)."""
    found = _widened(packed.view(-1, GROUP, panel // 2), torch.float32)
    return found.view(2, GROUP, -1, panel // 2).permute(2, 0, 3, 1).reshape(-1, GROUP)
