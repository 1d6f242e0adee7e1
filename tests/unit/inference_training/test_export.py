"""What training exports, the server's own loader reads, with the same answers."""

import json

import torch
from transformers import GlmForCausalLM

from inference.chatglm3.config import Published, to_glm
from inference.chatglm3.loader import load
from inference.chatglm3.tokenizer import Tokenizer
from inference.training.export import export
from inference.training.vocabulary import train_vocabulary


def test_an_exported_folder_loads_and_computes_the_same(tmp_path):
    vocabulary = tmp_path / "tokenizer.model"
    train_vocabulary(["the quick brown fox", "敏捷的棕色狐狸跳过懒狗"] * 30, vocabulary, pieces=320)
    tokenizer = Tokenizer(vocabulary)
    published = Published(
        padded_vocab_size=384, hidden_size=32, ffn_hidden_size=48, num_layers=2, num_attention_heads=4,
        multi_query_group_num=2, kv_channels=8, seq_length=64,
    )  # fmt: skip
    torch.manual_seed(1)
    model = GlmForCausalLM(to_glm(published, tokenizer.specials.stop_ids))
    for weight in model.parameters():
        weight.data = weight.data.half().float()
    export(model, vocabulary, tmp_path / "checkpoint")

    checkpoint = load(tmp_path / "checkpoint", "float32")
    ids = torch.tensor([[5, 6, 7, 300]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, checkpoint.model(ids).logits)
    index = json.loads((tmp_path / "checkpoint" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2 * sum(weight.numel() for weight in model.parameters())
    assert checkpoint.published.torch_dtype == "float16"
