"""In which types a model's weights are kept, and in which it computes."""

from typing import Final, NamedTuple

import torch

from inference.engine import devices
from inference.engine.devices import NoDeviceError

_SMALL_BYTES = 2**30


class Precision(NamedTuple):
    """Types of what is not quantised: of matrices, and of everything else, activations and key-value memory too."""

    weights: torch.dtype
    activations: torch.dtype

    @property
    def name(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return str(self.weights).removeprefix("torch.")

    @property
    def kernel(self) -> torch.dtype:
        """What a kernel is given that knows both 16 and 32 bits and is far slower with 32."""
        return torch.float32 if self.weights == torch.float32 else torch.bfloat16


FLOAT32: Final = Precision(torch.float32, torch.float32)
BFLOAT16: Final = Precision(torch.bfloat16, torch.bfloat16)
FLOAT16: Final = Precision(torch.float16, torch.float32)
"""Sixteen bits in memory, float32 in arithmetic. A matrix that a file has in bfloat16 stays so until it is ordered."""

PRECISIONS: Final = {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": FLOAT16}


def choose(wanted: str, parameters: int, device: torch.device) -> Precision:
    """Return the precision by name; `auto` is the one that is fastest for so many parameters on this device.

    Raises `NoDeviceError` where the device cannot compute so.
    """
    half = device.type == "cpu" and "fbgemm" in _quantised_engines()
    if wanted == "auto":
        if 2 * parameters < _SMALL_BYTES:
            return FLOAT32
        if devices.computes_bfloat16(device):
            return BFLOAT16
        if device.type == "cuda":
            return FLOAT32
        # A processor imitates bfloat16 where it has no instructions for it.
        return FLOAT16 if half else BFLOAT16
    if wanted == "float16" and not half:
        raise NoDeviceError(
            "float16 is for x86 processors without bfloat16: start with --dtype bfloat16, float32 or auto."
        )
    return PRECISIONS[wanted]


def _quantised_engines() -> list[str]:
    engines: list[str] = torch.backends.quantized.supported_engines
    return engines
