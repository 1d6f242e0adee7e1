"""The ONNX graph, built from the network's weights with the fused operators of ONNX Runtime.

Inputs `input_ids` and `attention_mask`, int64 (batch, length); output `logits`, float (batch, 9). Both axes are free.
A specialist keeps the embeddings of the tokens that its language uses: `rows` says where each token's is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

from safety.training.network import Network

OPSET = 17
CONTRIB_OPSET = 1
CONTRIB = "com.microsoft"
EPSILON = 1e-12

Kept = NDArray[np.int64]
Factors = Mapping[str, NDArray[np.float32]]
"""By the name of a linear layer: what each of its inputs is divided by, and its weights multiplied by."""


class Graph:
    """Collects nodes and weights."""

    def __init__(self, weights: dict[str, NDArray[np.float32]], heads: int, factors: Factors) -> None:
        self.weights, self.heads, self.factors = weights, heads, factors
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def weight(self, name: str) -> str:
        """Return a weight's name."""
        return self.constant(name, self.weights[name])

    def linear(self, x: str, layer: str) -> list[str]:
        """Return the inputs of a product of `x` with a linear layer's weight, which ONNX multiplies from the right.

        Where the layer has factors, `x` is divided by them and the weight multiplied: the same product, of numbers that
        int8 can tell apart.
        """
        name = layer + ".weight"
        weight = self.weights[name].T
        if layer in self.factors:
            factors = self.factors[layer]
            weight = weight * factors[:, None]
            x = self.add("Mul", [x, self.constant(layer + ".smoothing", 1 / factors)], layer + ".smoothed")
        return [x, self.constant(name, np.ascontiguousarray(weight))]

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """Add an initializer and return its name."""
        self.tensors[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of the standard operators."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def add_fused(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of ONNX Runtime's own operators."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=CONTRIB, **attributes))
        return output


def build(network: Network, kept: Kept | None = None, factors: Factors | None = None) -> onnx.ModelProto:
    """Return the float model with the embeddings of the tokens `kept`, `[UNK]` first, which stands for all others."""
    weights = {name: value.detach().float().numpy() for name, value in network.state_dict().items()}
    graph = Graph(weights, network.shape.heads, factors or {})
    ids = "input_ids"
    if kept is not None:
        rows = np.zeros(network.shape.vocabulary, np.int64)
        rows[kept] = np.arange(len(kept))
        weights["words.weight"] = weights["words.weight"][kept]
        ids = graph.add("Gather", [graph.constant("rows", rows), "input_ids"], "row")
    x = _embed(graph, ids)
    graph.add("Cast", ["attention_mask"], "mask32", to=TensorProto.INT32)
    for at in range(network.shape.layers):
        x = _layer(graph, x, f"layers.{at}.")
    _pool(graph, x)
    axes = ["batch", "length"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "harm-classifier",
            [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", network.shape.outputs])],
            list(graph.tensors.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)],
        producer_name="attest",
    )
    model.ir_version = 9
    return model


def _embed(graph: Graph, ids: str) -> str:
    graph.add("Gather", [graph.weight("words.weight"), ids], "word")
    graph.add("Shape", ["input_ids"], "length", start=1, end=2)
    graph.add(
        "Slice",
        [
            graph.weight("positions.weight"),
            graph.constant("zero", np.array([0])),
            "length",
            graph.constant("first", np.array([0])),
        ],
        "position",
    )
    graph.add("Add", ["word", "position"], "embedded")
    return graph.add(
        "LayerNormalization",
        ["embedded", graph.weight("norm.weight"), graph.weight("norm.bias")],
        "normed",
        epsilon=EPSILON,
        axis=-1,
    )


def _layer(graph: Graph, x: str, base: str) -> str:
    seen = graph.add_fused(
        "Attention",
        [*graph.linear(x, base + "qkv"), graph.weight(base + "qkv.bias"), "mask32"],
        base + "attention",
        num_heads=graph.heads,
    )
    out = graph.add("MatMul", graph.linear(seen, base + "out"), base + "out")
    x = _skip_norm(graph, out, x, base + "norm1", graph.weight(base + "out.bias"))
    up = graph.add("MatMul", graph.linear(x, base + "up"), base + "up")
    up = graph.add("Add", [up, graph.weight(base + "up.bias")], base + "up.shifted")
    gelu = graph.add_fused("Gelu", [up], base + "gelu")
    down = graph.add("MatMul", graph.linear(gelu, base + "down"), base + "down")
    return _skip_norm(graph, down, x, base + "norm2", graph.weight(base + "down.bias"))


def _skip_norm(graph: Graph, new: str, old: str, norm: str, bias: str) -> str:
    """Bias, residual and norm as plain operators: the bias goes into the product before it when the model is loaded.

    ONNX Runtime's fused `SkipLayerNormalization` and `BiasGelu` work number by number: with them a run takes 1.4 times
    as long (`safety.classifier.onnx` keeps its optimiser from making them again).
    """
    graph.add("Add", [new, bias], norm + ".shifted")
    graph.add("Add", [norm + ".shifted", old], norm + ".sum")
    return graph.add(
        "LayerNormalization",
        [norm + ".sum", graph.weight(norm + ".weight"), graph.weight(norm + ".bias")],
        norm,
        epsilon=EPSILON,
        axis=-1,
    )


def _pool(graph: Graph, x: str) -> None:
    graph.add("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    graph.add("Unsqueeze", ["mask", graph.constant("last", np.array([-1]))], "present")
    graph.add("Mul", [x, "present"], "kept")
    along = graph.constant("along", np.array([1]))
    graph.add("ReduceSum", ["kept", along], "sum", keepdims=0)
    graph.add("ReduceSum", ["present", along], "count", keepdims=0)
    graph.add("Div", ["sum", "count"], "mean")
    graph.add("Sub", ["present", graph.constant("one", np.array(1, np.float32))], "absent")
    graph.add("Mul", ["absent", graph.constant("far", np.array(1e4, np.float32))], "lowered")
    graph.add("Add", [x, "lowered"], "shifted")
    graph.add("ReduceMax", ["shifted"], "peak", axes=[1], keepdims=0)
    graph.add("Concat", ["mean", "peak"], "pooled", axis=1)
    graph.add("Gemm", [*graph.linear("pooled", "head"), graph.weight("head.bias")], "logits")


def write(network: Network, small: Path, kept: Kept | None = None, factors: Factors | None = None) -> Path:
    """Write the dynamic int8 form to `small`, and the float model beside it; return the latter's path."""
    full = small.with_suffix(".float.onnx")
    model = build(network, kept, factors)
    onnx.checker.check_model(model)
    onnx.save(model, full)
    quantize_dynamic(
        full,
        small,
        per_channel=True,
        reduce_range=False,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Attention", "Gather"],
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
    )
    return full
