"""A ChatGLM3-6B folder with random weights, of the true size or with fewer layers.

    python -m tests.bench.random_weights DIR [--layers 28] [--tokenizer FILE]

It takes 0.4 GB a layer and 1.1 GB beside. Its tokenizer is FILE, or the demo model's, whose pieces are fewer than the
vocabulary has places for. What it says is noise; what it costs is not.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file

from inference.chatglm3.config import Published, from_glm, to_glm
from inference.chatglm3.layout import published_shapes
from inference.cli import DEMO

SHAPE = Published(
    padded_vocab_size=65024,
    hidden_size=4096,
    ffn_hidden_size=13696,
    num_layers=28,
    num_attention_heads=32,
    multi_query_group_num=2,
    kv_channels=128,
    seq_length=8192,
)
_SHARD_BYTES = 2**31


def sized(layers: int) -> Published:
    """Return the published configuration with another number of layers."""
    return msgspec.structs.replace(SHAPE, num_layers=layers)


def write(folder: Path, layers: int, tokenizer: Path = DEMO / "tokenizer.model") -> None:
    """Write the folder, shard by shard; a shard has about 2 GB, as the published ones have."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    # Noise is drawn once and read from another place for each tensor: drawing all of it would take minutes.
    noise = torch.randn(2**26 + 2**20, generator=generator).mul_(0.02).to(torch.float16)
    shard: dict[str, torch.Tensor] = {}
    weight_map: dict[str, str] = {}
    for place, (name, shape) in enumerate(published_shapes(sized(layers).shapes).items()):
        size = torch.Size(shape).numel()
        start = place * 7919 % 2**20
        drawn = noise[start : start + 2**26].repeat(-(-size // 2**26))[:size].view(shape).clone()
        shard[name] = torch.ones(shape, dtype=torch.float16) if "layernorm" in name else drawn
        if sum(tensor.nbytes for tensor in shard.values()) >= _SHARD_BYTES:
            _flush(folder, shard, weight_map)
    _flush(folder, shard, weight_map)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(from_glm(to_glm(sized(layers), (2,)), dtype="float16")))
    shutil.copyfile(tokenizer, folder / "tokenizer.model")


def _flush(folder: Path, shard: dict[str, torch.Tensor], weight_map: dict[str, str]) -> None:
    file = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
    save_file(shard, folder / file, metadata={"format": "pt"})
    weight_map |= dict.fromkeys(shard, file)
    shard.clear()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--tokenizer", type=Path, default=DEMO / "tokenizer.model")
    given = parser.parse_args()
    write(given.folder, given.layers, given.tokenizer)
    sys.stdout.write(f"{given.folder}\n")
