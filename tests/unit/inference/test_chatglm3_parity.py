"""Exactness against the published architecture: logits, greedy tokens, token ids, prompts."""

import gzip
import json

import numpy as np
import pytest
import torch

from inference.chatglm3 import prompt
from inference.chatglm3.layout import DROPPED, published_shapes, to_published
from inference.chatglm3.loader import load
from inference.chatglm3.reply import Detokeniser
from inference.chatglm3.tokenizer import Tokenizer
from inference.engine import slots
from inference.ports import Message, Role
from tests.unit.inference.reference import reference

NAMES = ("tiny", "tiny-32k")


@pytest.fixture(params=NAMES)
def loaded(request):
    folder = reference(request.param)
    return load(folder, "float32", tokenizer_needed=False), np.load(folder / "reference.npz")


def test_logits_match(loaded):
    checkpoint, expected = loaded
    with torch.inference_mode():
        logits = checkpoint.model(torch.tensor(expected["input_ids"])).logits
    assert float((logits - torch.tensor(expected["logits"])).abs().max()) <= 1e-4


@pytest.mark.parametrize("chunk", [96, 40, 7])
def test_own_decoding_gives_the_same_logits_and_greedy_tokens(loaded, chunk):
    """Chunked prompt, own memory per request, both rows decoded together."""
    checkpoint, expected = loaded
    assert _decoded(checkpoint.model, expected, chunk, most=1e-4) == expected["greedy"].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_weights_in_float16_give_the_same_greedy_tokens(name):
    folder = reference(name)
    model = load(folder, "float16", tokenizer_needed=False).model
    expected = np.load(folder / "reference.npz")
    assert _decoded(model, expected, 40, most=5e-3) == expected["greedy"].tolist()


def _decoded(model, expected, chunk, *, most):
    """Return the greedy tokens; the logits after the prompts are off by `most` at most."""
    slots.register(model)
    prompts = expected["input_ids"].tolist()
    with torch.inference_mode():
        memories = [slots.Memory(model.config, len(ids) + 32, torch.float32) for ids in prompts]
        last = []
        for memory, ids in zip(memories, prompts, strict=True):
            for start in range(0, len(ids), chunk):
                logits = slots.prefill(model, memory, ids[start : start + chunk])
            last.append(logits[0])
        difference = (torch.stack(last) - torch.tensor(expected["logits"][:, -1])).abs().max()
        assert float(difference) <= most
        tokens = [[int(row.argmax())] for row in last]
        for _ in range(expected["greedy"].shape[1] - 1):
            step = slots.decode(model, memories, [row[-1] for row in tokens], 4)
            for row, logits in zip(tokens, step, strict=True):
                row.append(int(logits.argmax()))
    return tokens


def test_export_gives_the_published_tensors_back(loaded):
    checkpoint, _ = loaded
    exported = to_published(checkpoint.model.state_dict())
    expected = published_shapes(checkpoint.published.shapes)
    assert {name: tuple(tensor.shape) for name, tensor in exported.items()} == expected
    assert DROPPED not in exported


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(reference("tokenizer.model"))


@pytest.fixture(scope="module")
def known():
    with gzip.open(reference("tokenizer_reference.json.gz")) as file:
        return json.load(file)


def test_special_ids_are_the_published_ones(tokenizer):
    special = tokenizer.specials
    assert (special.gmask, special.sop, special.system, special.user) == (64790, 64792, 64794, 64795)
    assert (special.assistant, special.observation, special.stop_ids) == (64796, 64797, (2, 64795, 64797))


def test_every_reference_text(tokenizer, known):
    assert len(known["texts"]) > 200
    for case in known["texts"]:
        assert tokenizer.encode(case["text"]) == case["ids"]


def test_every_reference_prompt(tokenizer, known):
    assert len(known["prompts"]) > 50
    for case in known["prompts"]:
        messages = [Message(Role(message["role"]), message["content"]) for message in case["messages"]]
        metadata = {
            place: message["metadata"] for place, message in enumerate(case["messages"]) if "metadata" in message
        }
        assert prompt.build(tokenizer, messages, metadata) == case["ids"]
        assert prompt.shortest(tokenizer, messages) <= len(case["ids"])


def test_streamed_text_is_the_whole_text(tokenizer, known):
    for case in known["texts"]:
        pieces = Detokeniser(tokenizer)
        shown = [pieces.push(index) for index in case["ids"]] + [pieces.flush()]
        assert "".join(shown) == tokenizer.decode(case["ids"])
