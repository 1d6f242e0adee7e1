"""Where the torch engine computes: the processor, or one NVIDIA GPU by CUDA.

The GPU is the first that the process sees (`CUDA_VISIBLE_DEVICES` chooses another). Sampling stays on the processor, so
that a seed means the same on both.
"""

import torch

from inference.engine.base import ModelFolderError

CPU = torch.device("cpu")


class NoDeviceError(ModelFolderError):
    """The device that was asked for cannot compute this model; the message says why, and what to do."""


def choose(wanted: str, *, quantised: bool) -> torch.device:
    """Return the device for a model: `cpu` or `cuda` as wanted. Raises `NoDeviceError` when a GPU cannot be had.

    `auto` takes a GPU where there is one, and the processor for quantised weights: their kernels are the processor's.
    """
    if wanted == "cpu" or (wanted == "auto" and (quantised or not torch.cuda.is_available())):
        return CPU
    if quantised:
        raise NoDeviceError(
            "Weights in eight or four bits are computed on the processor only: "
            "serve the folder that they were made from on the GPU, or start with --device cpu."
        )
    if torch.version.cuda is None:
        raise NoDeviceError(
            "This build of torch has no CUDA: install one that has (https://pytorch.org/get-started/locally/), "
            "or start with --device cpu."
        )
    if not torch.cuda.is_available():
        raise NoDeviceError(
            "torch sees no CUDA device: check the driver with nvidia-smi, CUDA_VISIBLE_DEVICES, and that a container "
            "is given the GPU; or start with --device cpu."
        )
    return torch.device("cuda", 0)


def computes_bfloat16(device: torch.device) -> bool:
    """Say whether the device has instructions for bfloat16: GPUs since Ampere, x86 with AMX or AVX512-BF16.

    Processors that are not x86 are taken to have them.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return found["architecture"] != "x86_64" or bool(found["amx_bf16"] or found["avx512_bf16"])


def wait(device: torch.device) -> None:
    """Wait until everything that was given to the device is computed; the processor has nothing outstanding."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def works(device: torch.device) -> bool:
    """Say whether the device still computes.

    A fault within a CUDA kernel takes the process's access to the GPU with it: everything after it fails, until the
    process is started anew.
    """
    try:
        return int(torch.ones(1, dtype=torch.int64, device=device).sum()) == 1
    except torch.OutOfMemoryError:
        return True
    except RuntimeError:
        return False


def name(device: torch.device) -> str:
    """Return what the device calls itself, for the log: `cpu`, or a GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def memory_says(device: torch.device) -> str:
    """Return how much memory of the device is free, in words, for a message."""
    free, total = torch.cuda.mem_get_info(device)
    return f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB are free"
