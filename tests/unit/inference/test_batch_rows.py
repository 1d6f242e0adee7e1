"""What a step computes for one request, bit by bit, whoever else is in the batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference.chatglm3.loader import Checkpoint, load
from inference.cli import DEMO
from inference.engine import slots

PLACES = 8
PROMPTS = [[300 + 7 * place + at for at in range(5 + place)] for place in range(PLACES)]
LAST = [310 + place for place in range(PLACES)]


def read(checkpoint: Checkpoint) -> list[slots.Memory]:
    """Read every prompt into a memory of its own."""
    found = []
    for ids in PROMPTS:
        memory = slots.Memory(checkpoint.model.config, 32, checkpoint.precision.activations)
        slots.prefill(checkpoint.model, memory, ids)
        found.append(memory)
    return found


def both(checkpoint: Checkpoint, quantum: int) -> tuple[Tensor, Tensor]:
    """Return the logits of a step for each request alone, and for all of them together."""
    alone = [
        slots.decode(checkpoint.model, [memory], [last], quantum)
        for memory, last in zip(read(checkpoint), LAST, strict=True)
    ]
    return torch.cat(alone), slots.decode(checkpoint.model, read(checkpoint), LAST, quantum)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["demo", "tiny"])
def test_logits_are_the_same_alone_and_among_others(model: str, dtype: str, tiny_folder: Path):
    checkpoint = load(DEMO if model == "demo" else tiny_folder, dtype)
    slots.register(checkpoint.model)
    with torch.inference_mode():
        alone, together = both(checkpoint, slots.row_quantum(checkpoint.model, PLACES))
    assert torch.equal(alone, together)
    assert len({tuple(row[:50].tolist()) for row in alone}) == PLACES, "each has an answer of its own"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_kernels_that_differ_in_the_order_of_a_sum_are_told_apart(dtype: str, rows: int, monkeypatch):
    """As on a machine whose library takes another kernel below so many rows; sixteen bits hide nearly all of it."""
    kind = getattr(torch, dtype)

    def product(given: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        assert bias is None
        terms = range(given.shape[1])
        total = torch.zeros(len(given), len(weight))
        for term in reversed(terms) if len(given) < rows else terms:
            total += given[:, term, None].float() * weight[:, term].float()
        return total.to(kind)

    monkeypatch.setattr(slots, "linear", product)
    layer = torch.nn.Linear(64, 32, bias=False, dtype=kind)
    model = torch.nn.Module()
    model.layer, model.model = layer, torch.nn.Module()
    model.model.norm = torch.nn.LayerNorm(64, dtype=kind)
    with torch.inference_mode():
        assert slots.row_quantum(model, PLACES) == {1: 1, 2: 2, 3: 4}[rows]
