"""A shipped classifier as the start of a run: what it learned is kept, and a short run adds what is new."""

import logging
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer

from safety.classifier.manifest import MODEL_FILE, TOKENIZER_FILE
from safety.training.network import Network, Shape

TURNED = tuple(f"{linear}.weight" for linear in ("qkv", "out", "up", "down", "head"))
"""Weights of linear layers: ONNX keeps them the other way round (`graph.Graph.weight`)."""

log = logging.getLogger(__name__)


def start_from(folder: Path, shape: Shape | None = None) -> tuple[Network, Tokenizer]:
    """Return network and tokenizer of a classifier that `attest safety train` exported to `folder`.

    Its int8 weights become float again, each within half a step of what was trained. `shape` is the usual one when it
    is not given.
    """
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    network = Network(shape or Shape(tokenizer.get_vocab_size()))
    model = onnx.load(folder / MODEL_FILE)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    with torch.no_grad():
        for name, value in network.state_dict().items():
            array = _weight(found, name)
            value.copy_(torch.from_numpy(array.T.copy() if name.endswith(TURNED) else array))
    log.info("starting from %s", folder)
    return network, tokenizer


def _weight(found: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.float32]:
    if name in found:
        return found[name].astype(np.float32)
    scale, zero = found[f"{name}_scale"].astype(np.float32), found[f"{name}_zero_point"].astype(np.float32)
    return (found[f"{name}_quantized"].astype(np.float32) - zero) * scale
