"""Factors that move what is uneven among a linear layer's inputs into its weights, before both become int8.

An input that is large in a few places leaves int8 few steps for all others, since one scale holds for the whole tensor.
Divided by factors, place by place, the inputs are even; the weights, multiplied by them, have a scale for each column.
After Xiao et al. 2023, SmoothQuant (arXiv 2211.10438).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safety.classifier.tokenise import Ids
from safety.training.graph import Factors
from safety.training.network import Network

ORDINARY = 0.99
"""Inputs up to this quantile of their places' largest values stay as they are; the few above are brought down to it."""
LEAST = 1e-4
"""Inputs that are never larger count as this large."""
TOGETHER = 32
"""Sequences of a batch."""


def factors_of(network: Network, sequences: Sequence[Ids]) -> Factors:
    """Return the factors of every linear layer of the encoder, from what `sequences` make of its inputs."""
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith("layers.")
    }
    largest = {name: torch.zeros(layer.in_features) for name, layer in layers.items()}
    hooks = [layer.register_forward_pre_hook(partial(_note, largest[name])) for name, layer in layers.items()]
    ranked = sorted(sequences, key=len)
    with torch.no_grad():
        for at in range(0, len(ranked), TOGETHER):
            network(*_padded(ranked[at : at + TOGETHER]))
    for hook in hooks:
        hook.remove()
    return {name: _factors(values) for name, values in largest.items()}


def _note(largest: Tensor, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    torch.maximum(largest, inputs[0].abs().flatten(0, -2).amax(0).float(), out=largest)


def _padded(sequences: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.from_numpy(np.asarray(sequence))
        mask[row, : len(sequence)] = 1
    return ids, mask


def _factors(largest: Tensor) -> NDArray[np.float32]:
    ordinary = largest.quantile(ORDINARY).clamp_min(LEAST)
    return (largest / ordinary).clamp_min(1.0).numpy().astype(np.float32)
