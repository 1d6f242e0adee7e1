"""Checkpoint folders of the tiny model, to be spoilt."""

import torch
from safetensors.torch import load_file, save_file


def state_of(folder):
    """Return all tensors of a folder by name."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def single(folder, state):
    """Let a folder hold these tensors, in one file."""
    for path in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        path.unlink(missing_ok=True)
    save_file(state, folder / "model.safetensors")


def same(one, two):
    """Say whether two loaded checkpoints have the same tensors, bit by bit."""
    first, second = one.model.state_dict(), two.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
