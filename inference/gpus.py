"""How busy this machine's GPUs are, by NVML; nothing where there is no GPU, no driver or no `nvidia-ml-py`.

The figures are of whole GPUs, as `nvidia-smi` shows them: whoever computes there, this process, vLLM or something else.
"""

import importlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

LOG = logging.getLogger("attest.inference")


class Gpu(NamedTuple):
    """One GPU now."""

    id: str
    """NVML's UUID, the same after a restart."""
    name: str
    busy: float
    """Share of the last sampling period (up to a second) in which something was computed, 0 to 1."""
    used_bytes: int
    all_bytes: int


class Gpus:
    """Asks NVML, which is opened when first asked and stays open until the process ends."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._opened = False

    def read(self) -> Iterator[Gpu]:
        """Yield each GPU; one that cannot be read now is left out."""
        if not self._opened:
            self._opened, self._nvml = True, _opened()
        nvml = self._nvml
        if nvml is None:
            return
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError:
            return
        for index in range(count):
            try:
                yield _read(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
            except nvml.NVMLError:
                # One that fell off the bus, or a slice of one, of which NVML tells nothing.
                continue


def _read(nvml: Any, handle: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        id=str(nvml.nvmlDeviceGetUUID(handle)),
        name=str(nvml.nvmlDeviceGetName(handle)),
        busy=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        used_bytes=memory.used,
        all_bytes=memory.total,
    )


def _opened() -> Any:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        LOG.info("no GPU to watch: %s", type(error).__name__)
        return None
    return nvml
