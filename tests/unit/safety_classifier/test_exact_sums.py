"""Products of int8 are the same on every processor, so a text has one verdict on all machines."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from safety.classifier.manifest import OUTPUTS
from safety.classifier.onnx import OnnxModel

WIDTH = 64
"""Input values of one product; each adds up to 255 x 127."""


def product(path, weights):
    """Write a model that has our inputs and outputs and is one product: the token ids, as bytes, times `weights`."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("MatMulInteger", ["bytes", "weights"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["logits"], to=TensorProto.FLOAT),
    ]
    shape = ["batch", "length"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(OUTPUTS)])
    graph = helper.make_graph(nodes, "product", inputs, [output], [numpy_helper.from_array(weights, "weights")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def test_sums_of_the_largest_values_are_not_cut_off(tmp_path):
    """Two neighbours of 255 x 127 are more than sixteen bits hold: a processor without VNNI gave half of the sum."""
    product(tmp_path / "model.onnx", np.full((WIDTH, len(OUTPUTS)), 127, np.int8))
    logits = OnnxModel(tmp_path / "model.onnx").run([[255] * WIDTH])
    assert logits.tolist() == [[WIDTH * 255 * 127] * len(OUTPUTS)]


def test_sums_of_any_values_are_exact(tmp_path):
    numbers = np.random.default_rng(1)
    weights = numbers.integers(-127, 128, (WIDTH, len(OUTPUTS))).astype(np.int8)
    texts = numbers.integers(0, 256, (8, WIDTH))
    product(tmp_path / "model.onnx", weights)
    logits = OnnxModel(tmp_path / "model.onnx").run(texts.tolist())
    assert np.array_equal(logits, (texts @ weights.astype(np.int64)).astype(np.float32))
