"""A shipped classifier as the start of a run: what it learned is kept, and a short run adds what is new."""

import gzip
import logging
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer

from safety.classifier.manifest import MODEL_FILE, TOKENIZER_FILE, Language, load
from safety.training import specialist
from safety.training.network import Network, Shape

TURNED = tuple(f"{linear}.weight" for linear in ("qkv", "out", "up", "down", "head"))
"""Weights of linear layers: ONNX keeps them the other way round (`graph.Graph.weight`)."""

Initializers = dict[str, NDArray[np.generic]]

log = logging.getLogger(__name__)


def start_from(folder: Path, shape: Shape | None = None) -> tuple[Network, Tokenizer]:
    """Return network and tokenizer of a classifier that `attest safety train` exported to `folder`.

    Its int8 weights become float again, each within half a step of what was trained. `shape` is the usual one when it
    is not given.
    """
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    network = Network(shape or Shape(tokenizer.get_vocab_size()))
    _fill(network, _initializers(onnx.load(folder / MODEL_FILE)))
    log.info("starting from %s", folder)
    return network, tokenizer


def specialist_from(folder: Path, language: Language) -> Network:
    """Return the network of a classifier's specialist of one language, as it was before its export.

    Its int8 weights become float again; a token whose embedding did not ship starts as `[UNK]`.
    """
    manifest, _ = load(folder)
    asked = next((item for item in manifest.specialists if item.language == language), None)
    if asked is None:
        raise specialist.BaseError(f"The classifier in {folder} has no specialist of {language}.")
    found = _initializers(onnx.load_model_from_string(gzip.decompress((folder / asked.file).read_bytes())))
    found["words.weight"] = _weight(found, "words.weight")[found["rows"]]
    network = Network(specialist.shape_of(found, language))
    _fill(network, found)
    with torch.no_grad():
        network.head.bias.sub_(specialist.OFFSETS[language])
    log.info("starting from the specialist %s in %s", language, folder)
    return network


def _initializers(model: onnx.ModelProto) -> Initializers:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _fill(network: Network, found: Initializers) -> None:
    with torch.no_grad():
        for name, value in network.state_dict().items():
            array = _weight(found, name)
            smoothing = name.removesuffix("weight") + "smoothing"
            if smoothing in found:
                # What the input was divided by, the weights were multiplied by (`graph.Graph.linear`).
                array = array * found[smoothing].astype(np.float32)[:, None]
            value.copy_(torch.from_numpy(array.T.copy() if name.endswith(TURNED) else array))


def _weight(found: Initializers, name: str) -> NDArray[np.float32]:
    if name in found:
        return found[name].astype(np.float32)
    scale, zero = found[f"{name}_scale"].astype(np.float32), found[f"{name}_zero_point"].astype(np.float32)
    return (found[f"{name}_quantized"].astype(np.float32) - zero) * scale
