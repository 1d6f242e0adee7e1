"""Linear layers over quantised weights, on torch's own kernels.

Up to `FEW` rows (decoding) each row's result is the same whoever else is in the batch: INT8 sums integers, which has no
rounding to depend on the order; INT4's kernel treats each row alone. More rows (a prompt) are multiplied by weights
that are made wide again, a block of them at a time, small enough to stay in the processor's cache.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from inference.quant.arithmetic import unpack
from inference.quant.plan import GROUP

FEW = 64
"""Most rows that are taken as decoding; no engine decodes more requests together."""

_BLOCK = 1024
"""Rows of weights that are made wide together."""
_ROWS = 512
"""Rows of a prompt that are multiplied together; twice as many took up to 1.8 times as long a row."""
_PANEL = 64
"""Rows of weights that INT4's kernel keeps together."""
_KERNEL_ROWS = 16
"""It takes rows by so many."""
_HALF = 256
_MOST = 127 * _HALF
_SIGN = 0x80
_TINY = 1e-20
_SIXTEEN_BYTES = torch.complex128
"""The widest type that copies without a look at what it copies."""


class Halves:
    """Activations (rows x columns) as 16-bit integers, cut into two halves of eight bits.

    Layers that read the same activations share one, so that they are cut once.
    """

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._found: tuple[Tensor, Tensor] | None = None

    def of(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Return the halves (columns x 2·rows, int8: first all low ones, then all high ones) and each row's scale.

        A row is about (256 x high + low) x scale; what is lost is at most 1/65,000 of the row's largest value.
        """
        if self._found is None or self._of is not activations:
            self._of, self._found = activations, _halves(activations)
        return self._found


def _halves(activations: Tensor) -> tuple[Tensor, Tensor]:
    rows = activations.reshape(-1, activations.shape[-1]).float().contiguous()
    scale = rows.abs().amax(dim=1).clamp_min_(_TINY).mul_(1 / _MOST)
    # 128 more, so that the low byte, taken without a sign, is 128 more than the low half: flip its highest bit.
    whole = (rows / scale[:, None]).round_().add_(_SIGN).to(torch.int16).bitwise_xor_(_SIGN)
    # Little-endian, as every processor is that torch runs on: the low byte comes first.
    halves = whole.view(torch.int8).view(*whole.shape, 2)
    return halves.permute(1, 2, 0).reshape(whole.shape[1], -1), scale


class QuantLinear(nn.Module, ABC):
    """A linear layer whose weights are quantised: rows of `in_features` → rows of `out_features`."""

    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.register_parameter("bias", nn.Parameter(torch.empty(out_features)) if bias else None)

    def forward(self, activations: Tensor, room: Tensor | None = None) -> Tensor:
        """Return the product, in the type of the activations; where it is large, in `room` (an earlier product)."""
        rows = activations.numel() // self.in_features
        if rows <= FEW:
            found = self._few(activations)
        else:
            found = activations.new_empty(rows, self.out_features) if room is None else room.view(rows, -1)
            self._many(activations.reshape(rows, -1), found)
        if self.bias is not None:
            found = found + self.bias
        return found.view(*activations.shape[:-1], self.out_features)

    @abstractmethod
    def _few(self, activations: Tensor) -> Tensor:
        """Multiply at most `FEW` rows."""

    @abstractmethod
    def _many(self, rows: Tensor, found: Tensor) -> None:
        """Multiply the rows of a prompt into `found`."""


class Int8Linear(QuantLinear):
    """Weights in eight bits, one scale a row."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool, halves: Halves | None = None) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self._halves = halves or Halves()
        self.register_buffer("weight", torch.empty(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.empty(out_features))

    def _few(self, activations: Tensor) -> Tensor:
        """Integer products of both halves. With the weights first, each is read from memory once, in its own order."""
        halves, scale = self._halves.of(activations)
        sums = torch._int_mm(self.weight, halves).view(self.out_features, 2, -1)  # noqa: SLF001 - has no other name
        found = torch.add(sums[:, 0].float(), sums[:, 1], alpha=_HALF)
        found.mul_(self.weight_scale[:, None]).mul_(scale)
        return found.t().to(activations.dtype).contiguous()

    def _many(self, rows: Tensor, found: Tensor) -> None:
        wide = rows.new_empty(min(_BLOCK, self.out_features), self.in_features)
        # In one type: a product of two takes four times as long. `to_int8` makes scales that lose nothing by it.
        scale = self.weight_scale.to(rows.dtype)
        for start in range(0, self.out_features, _BLOCK):
            codes = self.weight[start : start + _BLOCK]
            block = wide[: codes.shape[0]].copy_(codes)
            end = start + codes.shape[0]
            for top in range(0, rows.shape[0], _ROWS):
                some = slice(top, top + _ROWS)
                torch.mul(linear(rows[some], block), scale[start:end], out=found[some, start:end])


class Int4Linear(QuantLinear):
    """Weights in four bits, a scale and a middle for each group of a row.

    They are loaded as a file has them, and `prepare` puts them into the order of the kernel.
    """

    weight: Tensor
    weight_scale: Tensor
    weight_zero: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__(in_features, out_features, bias=bias)
        groups = (out_features, in_features // GROUP)
        self.register_buffer("weight", torch.empty(out_features, in_features // 2, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.empty(groups, dtype=torch.bfloat16))
        self.register_buffer("weight_zero", torch.empty(groups, dtype=torch.bfloat16))
        self._order = False

    def prepare(self, dtype: torch.dtype) -> None:
        """Put the weights into the kernel's order, for activations of `dtype`. Once, after loading."""
        spare = -self.out_features % _KERNEL_ROWS
        scales = torch.stack((self.weight_scale, self.weight_zero), dim=2).transpose(0, 1).to(dtype)
        # Columns / group x rows x (scale, middle).
        self.weight_scale = pad(scales, (0, 0, 0, spare)).contiguous()
        codes = pad(unpack(self.weight).int(), (0, 0, 0, spare))
        self.weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)  # noqa: SLF001
        del self.weight_zero
        self._order = self.out_features % _PANEL == 0 and order_is_known()

    def _few(self, activations: Tensor) -> Tensor:
        rows = activations.reshape(-1, self.in_features)
        found: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.weight, GROUP, self.weight_scale)  # noqa: SLF001
        return found[:, : self.out_features]

    def _many(self, rows: Tensor, found: Tensor) -> None:
        if not self._order:
            found.copy_(self._few(rows))
            return
        halves = found.view(rows.shape[0], -1, 2, _PANEL // 2)
        panels = self.weight.view(-1, self.in_features, _PANEL // 2)
        step = _BLOCK // _PANEL
        for first in range(0, panels.shape[0], step):
            codes = _widened(panels[first : first + step], rows.dtype)
            last = first + codes.shape[2] // (_PANEL // 2)
            groups = codes.view(2, -1, GROUP, codes.shape[2])
            scale, middle = self._steps(first, last)
            # One pass and one rounding; a multiplication and an addition take half as long again.
            torch.addcmul(middle, groups, scale, out=groups)
            for top in range(0, rows.shape[0], _ROWS):
                some = slice(top, top + _ROWS)
                for half in range(2):
                    halves[some, first:last, half] = (rows[some] @ codes[half]).view(-1, last - first, _PANEL // 2)

    def _steps(self, first: int, last: int) -> Tensor:
        """Return scales and middles of some panels, as `_widened` orders weights (2 x halves x groups x 1 x rows)."""
        steps = self.weight_scale[:, first * _PANEL : last * _PANEL].view(-1, last - first, 2, _PANEL // 2, 2)
        return steps.permute(4, 2, 0, 1, 3).reshape(2, 2, steps.shape[0], 1, -1)


def _widened(panels: Tensor, dtype: torch.dtype) -> Tensor:
    """Return codes less eight of panels in the kernel's order (panels x columns x 32 bytes).

    A byte has row n of its panel in its low half and row n + 32 in its high half. What comes back is 2 (low, high) x
    columns x rows of those halves: in this order every step runs along whole rows, far faster than along 32 values.
    """
    count, columns, half = panels.shape
    along = panels.view(_SIXTEEN_BYTES).transpose(0, 1).contiguous().view(torch.uint8).view(columns, -1)
    found = torch.empty(2, columns, count * half, dtype=dtype)
    found[0] = (along & 15).view(torch.int8).sub_(8)
    found[1] = (along >> 4).view(torch.int8).sub_(8)
    return found


def order_is_known() -> bool:
    """Say whether this processor's kernel has the order that `_widened` reads; it differs by vector width."""
    codes = torch.arange(2 * _PANEL * GROUP, dtype=torch.int32).mul_(7).remainder_(15).view(2 * _PANEL, GROUP)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)  # noqa: SLF001
    if packed.shape != (2 * _PANEL, GROUP // 2):
        return False
    found = _widened(packed.view(2, GROUP, _PANEL // 2), torch.float32)
    rows = found.view(2, GROUP, 2, _PANEL // 2).permute(2, 0, 3, 1).reshape(2 * _PANEL, GROUP)
    return torch.equal(rows, codes.float() - 8)
