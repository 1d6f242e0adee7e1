"""Writes a trained model as a ChatGLM3 checkpoint folder in its published layout."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GlmForCausalLM

from inference.chatglm3.config import from_glm
from inference.chatglm3.layout import to_published

SHARD = "model-00001-of-00001.safetensors"
INDEX = "model.safetensors.index.json"


def export(model: GlmForCausalLM, vocabulary: Path, folder: Path) -> None:
    """Write `config.json`, `tokenizer.model`, `tokenizer_config.json`, one fp16 shard and its index into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in to_published(model.state_dict()).items()
    }
    save_file(tensors, folder / SHARD, metadata={"format": "pt"})
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict.fromkeys(sorted(tensors), SHARD)}
    _write_json(folder / INDEX, index)
    _write_json(folder / "config.json", from_glm(model.config, dtype="float16"))
    _write_json(
        folder / "tokenizer_config.json",
        {"name_or_path": "attest-demo", "padding_side": "left", "tokenizer_class": "ChatGLMTokenizer"},
    )
    shutil.copyfile(vocabulary, folder / "tokenizer.model")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
