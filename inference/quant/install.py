"""Layers over weights of fewer bits in the place of a model's own."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from transformers import GlmForCausalLM

from inference.chatglm3.layout import Shapes, from_published, published_shapes
from inference.quant.float16 import Float16Linear
from inference.quant.int4 import Int4Linear
from inference.quant.int8 import Halves, Int8Linear
from inference.quant.linear import QuantLinear
from inference.quant.plan import Quantisation, bits_of
from inference.quant.precision import FLOAT16, Precision


def install(model: GlmForCausalLM, shapes: Shapes, quantisation: Quantisation | None, precision: Precision) -> None:
    """Replace each linear layer whose matrix is kept in another way; weights come later, by `load_state_dict`.

    These are the quantised ones, and in `FLOAT16` all others too.
    """
    for name, shape in published_shapes(shapes).items():
        bits = bits_of(name, shape, quantisation)
        halves = Halves()
        for own, part in from_published(name, torch.empty(shape, device="meta"), shapes):
            target, _, kind = own.rpartition(".")
            old = model.get_submodule(target)
            if not isinstance(old, nn.Linear) or kind != "weight":
                continue
            rows, columns = part.shape
            biased = old.bias is not None
            new: QuantLinear
            if bits == 4:  # noqa: PLR2004 - four bits
                new = Int4Linear(columns, rows, bias=biased)
            elif bits == 8:  # noqa: PLR2004 - eight bits
                new = Int8Linear(columns, rows, bias=biased, halves=halves)
            elif precision == FLOAT16:
                new = Float16Linear(columns, rows, bias=biased)
            else:
                continue
            model.set_submodule(target, new)


def prepare(model: GlmForCausalLM, precision: Precision) -> None:
    """Put weights into their kernels' order; once, after loading.

    What else came from the same files is copied, so that nothing keeps them mapped beside the new order.
    """
    layers = [module for module in model.modules() if isinstance(module, QuantLinear)]
    with ThreadPoolExecutor(torch.get_num_threads(), "attest-order") as threads:
        ordered = list(threads.map(lambda layer: layer.prepare(precision), layers))
    if any(ordered):
        own = {tensor for layer, is_copy in zip(layers, ordered, strict=True) if is_copy for tensor in layer.buffers()}
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor not in own:
                tensor.data = tensor.data.clone()
