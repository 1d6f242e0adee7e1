"""Fixed scales of what int8 products read, measured once on training texts and written into the graph.

`quantize_dynamic` leaves each scale to the run: from the smallest to the largest number of the whole tensor, and so of
all texts that share the run. A text's scores then depended on its neighbours. The ranges hardly differ from text to
text (a few places of the encoder are always the largest), so one range for each product loses nothing, and a text gets
the same logits, bit by bit, alone and beside others (docs/decisions/0017).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from safety.classifier.tokenise import Ids
from safety.training.graph import CONTRIB

DYNAMIC = "DynamicQuantizeLinear"
LEVELS = 255
"""Steps of an unsigned byte."""
LEAST = 1e-6
"""Ranges that are narrower count as this wide."""

USUAL = 0.99
"""Share of the texts whose smallest or largest number is inside the range; what lies beyond is cut off there."""

Ranges = dict[str, tuple[float, float]]
"""By the name of a tensor: the smallest and the largest number that int8 tells apart, 0 between them."""


def fix_file(small: Path, full: Path, sequences: Sequence[Ids]) -> None:
    """Give the int8 model in a file the scales that `sequences` need in the float model it was made from."""
    model = onnx.load(small)
    onnx.save(fix(model, ranges_of(onnx.load(full), quantised(model), sequences)), small)


def quantised(model: onnx.ModelProto) -> list[str]:
    """Return the names of what a dynamically quantised model turns into int8 in each run."""
    return list(dict.fromkeys(node.input[0] for node in model.graph.node if node.op_type == DYNAMIC))


def ranges_of(full: onnx.ModelProto, names: Sequence[str], sequences: Sequence[Ids]) -> Ranges:
    """Return the ranges of tensors of a float model over texts, each judged alone."""
    seen = _copy(full)
    for name in names:
        seen.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    lows, highs = (np.zeros((len(sequences), len(names))) for _ in range(2))
    for at, ids in enumerate(sequences):
        feed = {"input_ids": ids[None].astype(np.int64), "attention_mask": np.ones((1, len(ids)), np.int64)}
        for column, values in enumerate(session.run(names, feed)):
            lows[at, column], highs[at, column] = values.min(), values.max()
    low = np.minimum(np.quantile(lows, 1 - USUAL, axis=0), 0.0)
    high = np.maximum(np.quantile(highs, USUAL, axis=0), LEAST)
    return {name: (float(low[at]), float(high[at])) for at, name in enumerate(names)}


def fix(model: onnx.ModelProto, ranges: Ranges) -> onnx.ModelProto:
    """Return the dynamically quantised model with fixed scales, and one operator for each product."""
    fixed = _copy(model)
    tensors = {tensor.name for tensor in fixed.graph.initializer}
    del fixed.graph.node[:]
    nodes = _Nodes(model, tensors)
    for node in nodes:
        if node.op_type == DYNAMIC:
            scale, middle = _scale(*ranges[node.input[0]])
            fixed.graph.initializer.append(numpy_helper.from_array(scale, node.output[1]))
            fixed.graph.initializer.append(numpy_helper.from_array(middle, node.output[2]))
            inputs = [node.input[0], *node.output[1:]]
            fixed.graph.node.append(helper.make_node("QuantizeLinear", inputs, [node.output[0]], name=node.name))
        elif node.op_type == "MatMulInteger":
            fixed.graph.node.append(nodes.product(node))
        else:
            fixed.graph.node.append(node)
    return fixed


def _scale(low: float, high: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the size of a step and the byte that stands for 0."""
    step = (high - low) / LEVELS
    return np.array(step, np.float32), np.array(np.clip(round(-low / step), 0, LEVELS), np.uint8)


class _Nodes:
    """A model's nodes in order, without those that become part of a product: its scales, its cast and its bias."""

    def __init__(self, model: onnx.ModelProto, tensors: set[str]) -> None:
        self._nodes = list(model.graph.node)
        self._tensors = tensors
        self._made_by = {output: node for node in self._nodes for output in node.output}
        self._used_by: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            for name in node.input:
                self._used_by.setdefault(name, []).append(node)

    def __iter__(self) -> Iterator[onnx.NodeProto]:
        products = [self._parts(node) for node in self._nodes if node.op_type == "MatMulInteger"]
        gone = {node.output[0] for scales, after in products for node in (scales, *after)}
        return (node for node in self._nodes if node.output[0] not in gone)

    def product(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return one operator for an integer product, its scales and its bias."""
        scales, after = self._parts(node)
        inputs = [*node.input[:2], *scales.input, *node.input[2:]]
        inputs += [name for name in after[-1].input if after[-1].op_type == "Add" and name in self._tensors]
        output = after[-1].output[0]
        return helper.make_node("MatMulIntegerToFloat", inputs, [output], name=output, domain=CONTRIB)

    def _parts(self, node: onnx.NodeProto) -> tuple[onnx.NodeProto, list[onnx.NodeProto]]:
        """Return the product of both scales, and what follows: cast, scaling and, where there is one, the bias."""
        (cast,) = self._used_by[node.output[0]]
        (scaled,) = self._used_by[cast.output[0]]
        (scales,) = (name for name in scaled.input if name != cast.output[0])
        after = [cast, scaled]
        users = self._used_by[scaled.output[0]]
        if len(users) == 1 and users[0].op_type == "Add" and self._tensors.intersection(users[0].input):
            after.append(users[0])
        return self._made_by[scales], after


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
