"""Quantised layers in the place of a model's own."""

import torch
from torch import nn
from transformers import GlmForCausalLM

from inference.chatglm3.layout import Shapes, from_published, published_shapes
from inference.quant.linear import Halves, Int4Linear, Int8Linear, QuantLinear
from inference.quant.plan import Quantisation, bits_of


def install(model: GlmForCausalLM, shapes: Shapes, quantisation: Quantisation | None) -> None:
    """Replace each linear layer whose matrix is stored quantised; weights come later, by `load_state_dict`."""
    for name, shape in published_shapes(shapes).items():
        bits = bits_of(name, shape, quantisation)
        if bits > 8:  # noqa: PLR2004 - eight bits
            continue
        halves = Halves()
        for own, part in from_published(name, torch.empty(shape, device="meta"), shapes):
            target = own.removesuffix(".weight")
            old = model.get_submodule(target)
            biased = isinstance(old, nn.Linear) and old.bias is not None
            rows, columns = part.shape
            new: QuantLinear = (
                Int4Linear(columns, rows, bias=biased)
                if bits == 4  # noqa: PLR2004 - four bits
                else Int8Linear(columns, rows, bias=biased, halves=halves)
            )
            model.set_submodule(target, new)


def prepare(model: GlmForCausalLM, dtype: torch.dtype) -> None:
    """Put four-bit weights into their kernel's order; once, after loading.

    What else came from the same files is copied, so that nothing keeps them mapped beside the new order.
    """
    packed = [module for module in model.modules() if isinstance(module, Int4Linear)]
    for module in packed:
        module.prepare(dtype)
    if packed:
        own = {tensor for module in packed for tensor in module.buffers()}
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor not in own:
                tensor.data = tensor.data.clone()
