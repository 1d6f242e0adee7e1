"""A random ChatGLM3 checkpoint with a real SentencePiece model, small enough to build in a second."""

import io
import json
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from transformers import GlmForCausalLM

from inference.chatglm3.config import Published, from_glm, to_glm
from inference.chatglm3.layout import to_published

LINES = (
    "The quick brown fox jumps over the lazy dog near the river bank.",
    "Staff ask the model about travel, invoices, contracts and holidays.",
    "你好，世界。今天的天气很好，我们去公园散步。",
    "请问报销流程是什么？发票需要在月底之前提交。",
    "A model answers in words; 模型用文字回答。",
)
CONTEXT = 256


def sentencepiece_model(vocab_size: int = 400) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        pad_id=-1,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def build(folder: Path, *, shards: int = 2, seed: int = 0, context: int = CONTEXT) -> Path:
    """Write a checkpoint folder in the published layout and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = sentencepiece_model()
    (folder / "tokenizer.model").write_bytes(pieces)
    published = Published(
        padded_vocab_size=512,
        hidden_size=64,
        ffn_hidden_size=128,
        num_layers=2,
        num_attention_heads=4,
        multi_query_group_num=2,
        kv_channels=16,
        seq_length=context,
        torch_dtype="float32",
    )
    torch.manual_seed(seed)
    config = to_glm(published, (2,))
    model = GlmForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    state = {name: tensor.contiguous() for name, tensor in to_published(model.state_dict()).items()}
    (folder / "config.json").write_text(json.dumps(from_glm(config, dtype="float32")))
    write_shards(folder, state, shards)
    return folder


def write_shards(folder: Path, state: dict[str, torch.Tensor], shards: int) -> None:
    if shards == 1:
        save_file(state, folder / "model.safetensors")
        return
    names = sorted(state)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: state[name] for name in names[shard::shards]}
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
