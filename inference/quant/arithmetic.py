"""Matrices in eight and in four bits: pure functions over tensors.

INT8 is symmetric, one scale a row: w = q x scale. INT4 is asymmetric, one scale and one middle for each group of a row:
w = (q - 8) x scale + zero, q from 0 to 15. Rounding is to nearest.
"""

import torch
from torch import Tensor

from inference.quant.plan import GROUP

_INT8_MOST = 127
_INT4_MOST = 15
_INT4_MIDDLE = 8
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""How much of a group's range the sixteen steps cover; what lies outside is cut off. The best is taken for each."""


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes (rows x columns, int8) and scales (rows, float32) of a matrix of finite values.

    Scales are rounded up to what bfloat16 can hold, so that a product in bfloat16 takes them as they are.
    """
    rows = weight.float()
    low, high = rows.aminmax(dim=1)
    scale = torch.maximum(high, -low) / _INT8_MOST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    near = scale.to(torch.bfloat16)
    scale = torch.where(near.float() < scale, near.nextafter(torch.full_like(near, torch.inf)), near).float()
    return (rows / scale[:, None]).round_().clamp_(-_INT8_MOST, _INT8_MOST).to(torch.int8), scale


def from_int8(codes: Tensor, scale: Tensor) -> Tensor:
    """Return the matrix that codes and scales stand for, in float32."""
    return codes.float() * scale[:, None]


def to_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return codes (rows x columns / 2, uint8, the even column in the low half), scales and middles (rows x groups).

    Of several widths of the steps, each group gets the one with the least squared error.
    """
    groups = weight.float().view(weight.shape[0], -1, GROUP)
    low, high = groups.amin(dim=2), groups.amax(dim=2)
    best: tuple[Tensor, Tensor, Tensor] | None = None
    least: Tensor | None = None
    for shrink in _SHRINKS:
        scale, zero = _steps(low * shrink, high * shrink)
        codes = ((groups - zero.float()[..., None]) / scale.float()[..., None]).round_().add_(_INT4_MIDDLE)
        codes = codes.clamp_(0, _INT4_MOST)
        error = (_values(codes, scale, zero) - groups).square_().sum(dim=2)
        if best is None or least is None:
            best, least = (codes, scale, zero), error
            continue
        better = error < least
        least = torch.where(better, error, least)
        best = (
            torch.where(better[..., None], codes, best[0]),
            torch.where(better, scale, best[1]),
            torch.where(better, zero, best[2]),
        )
    codes, scale, zero = best  # type: ignore[misc]  # there is at least one shrink
    return pack(codes.to(torch.uint8).view(weight.shape)), scale, zero


def from_int4(packed: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return the matrix that codes, scales and middles stand for, in float32."""
    codes = unpack(packed)
    return _values(codes.view(codes.shape[0], -1, GROUP).float(), scale, zero).view(codes.shape)


def pack(codes: Tensor) -> Tensor:
    """Put two codes (rows x columns, uint8, 0 to 15) into each byte."""
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """Return the codes (rows x columns, uint8): the inverse of `pack`."""
    return torch.stack((packed & _INT4_MOST, packed >> 4), dim=2).flatten(1)


def error(weight: Tensor, found: Tensor) -> tuple[float, float]:
    """Return the squared error of an approximation and the squares of the matrix itself, each summed."""
    exact = weight.float().flatten()
    off = found.flatten() - exact
    return float(off.dot(off)), float(exact.dot(exact))


def _steps(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale and middle of groups, as they are stored; a group of equal values gets them exactly or nearly so."""
    scale = ((high - low) / _INT4_MOST).to(torch.bfloat16)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    flat = high == low
    zero = torch.where(flat, low, low + _INT4_MIDDLE * scale.float()).to(torch.bfloat16)
    return scale, zero


def _values(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return (codes - _INT4_MIDDLE) * scale.float()[..., None] + zero.float()[..., None]
