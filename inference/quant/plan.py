"""Which tensors a quantised folder holds: names, types and shapes, by the sizes of the model and nothing else.

Every matrix but the embedding is quantised. INT4 leaves the output layer, and a matrix whose columns do not divide into
groups, in INT8. A quantised matrix keeps its published name; its scales stand beside it as `NAME_scale`, and the middle
of each group of four bits as `NAME_zero`.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import torch

from inference.chatglm3.layout import BESIDE

GROUP: Final = 64
"""Weights that share a scale in INT4, along a row."""
METHOD: Final = "attest"
SCALE, ZERO = BESIDE

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""Types of a tensor that is not quantised."""

_OUTPUT = "transformer.output_layer.weight"
_EMBEDDING = "transformer.embedding.word_embeddings.weight"
_MATRIX = 2


class Quantisation(msgspec.Struct, frozen=True):
    """`quantization_config` in the `config.json` of a quantised folder."""

    bits: Literal[4, 8]
    quant_method: Literal["attest"] = METHOD
    group_size: Literal[64] = GROUP

    @property
    def precision(self) -> str:
        """`int8` or `int4`."""
        return f"int{self.bits}"


@dataclass(frozen=True)
class Stored:
    """One tensor as a file holds it."""

    shape: tuple[int, ...]
    dtype: torch.dtype | None = None
    """None: any floating point of 16 bits or more."""


def bits_of(name: str, shape: tuple[int, ...], quantisation: Quantisation | None) -> int:
    """Return in how many bits a published tensor is stored: 4, 8, or 16 when it is left as it is."""
    if quantisation is None or len(shape) != _MATRIX or name == _EMBEDDING:
        return 16
    if quantisation.bits == 8 or name == _OUTPUT or shape[1] % GROUP:  # noqa: PLR2004 - eight bits
        return 8
    return 4


def stored(published: dict[str, tuple[int, ...]], quantisation: Quantisation | None) -> dict[str, Stored]:
    """Return every tensor that a folder must hold, given the published names and shapes."""
    found: dict[str, Stored] = {}
    for name, shape in published.items():
        match bits_of(name, shape, quantisation):
            case 8:
                found[name] = Stored(shape, torch.int8)
                found[name + SCALE] = Stored(shape[:1], torch.float32)
            case 4:
                groups = (shape[0], shape[1] // GROUP)
                found[name] = Stored((shape[0], shape[1] // 2), torch.uint8)
                found[name + SCALE] = found[name + ZERO] = Stored(groups, torch.bfloat16)
            case _:
                found[name] = Stored(shape)
    return found


def is_part(name: str, dtype: torch.dtype) -> bool:
    """Say whether a stored tensor belongs to a quantised matrix, so that its type must stay as it is."""
    return dtype not in FLOATS or name.endswith(BESIDE)


def weight_bytes(published: dict[str, tuple[int, ...]], quantisation: Quantisation) -> int:
    """Return the memory that the weights need when they are served; what is not quantised is in bfloat16."""
    return sum(
        math.prod(each.shape) * (each.dtype or torch.bfloat16).itemsize
        for each in stored(published, quantisation).values()
    )
