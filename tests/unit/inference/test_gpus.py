"""How busy GPUs are. No machine of ours has one: `pynvml` here is a stand-in with functions and errors of its API."""

# ruff: noqa: N802 - the names are NVML's

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from inference.engine.scripted import ScriptedEngine
from inference.engines import OneEngine
from inference.gpus import Gpus
from inference.telemetry import Telemetry

DOCUMENT = Path(__file__).parents[3] / "docs" / "inference.md"


class NVMLError(Exception):
    pass


class Nvml(SimpleNamespace):
    """A module whose GPUs are (name, per cent, used, all), or None for one that cannot be read."""

    NVMLError = NVMLError

    def __init__(self, *gpus, driver=True):
        super().__init__(gpus=gpus, driver=driver, opened=0)

    def nvmlInit(self):
        self.opened += 1
        if not self.driver:
            raise NVMLError

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        if self.gpus[index] is None:
            raise NVMLError
        return index

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle):
        return self.gpus[handle][0]

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=self.gpus[handle][1], memory=0)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=self.gpus[handle][2], total=self.gpus[handle][3])


def rendered(monkeypatch, nvml, times=1):
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    telemetry = Telemetry(OneEngine(ScriptedEngine(None)))
    return [telemetry.render().decode() for _ in range(times)][-1]


def test_each_gpu_is_read_whenever_metrics_are(monkeypatch):
    nvml = Nvml(("NVIDIA H100", 73, 2**30, 80 * 2**30), None, ("NVIDIA L4", 0, 0, 24 * 2**30))
    text = rendered(monkeypatch, nvml, times=3)
    assert 'hw_gpu_utilization_ratio{hw_id="GPU-0",hw_name="NVIDIA H100"} 0.73' in text
    assert 'hw_gpu_memory_usage_bytes{hw_id="GPU-0",hw_name="NVIDIA H100"} 1.073741824e+09' in text
    assert 'hw_gpu_utilization_ratio{hw_id="GPU-2",hw_name="NVIDIA L4"} 0.0' in text
    assert "GPU-1" not in text, "one that cannot be read hides no other"
    assert nvml.opened == 1
    described = DOCUMENT.read_text()
    names = set(re.findall(r"^(hw_\w+)\{", text, re.MULTILINE))
    assert len(names) == 3
    assert not [name for name in names if f"`{name}`" not in described]


@pytest.mark.parametrize("nvml", [None, Nvml(driver=False), Nvml()], ids=["no library", "no driver", "no GPU"])
def test_without_a_gpu_there_is_no_such_metric(monkeypatch, nvml):
    text = rendered(monkeypatch, nvml, times=2)
    assert "hw_gpu" not in text
    assert "attest_inference_ready" in text


def test_the_library_has_what_is_called():
    import pynvml  # noqa: PLC0415

    called = [name for name in vars(Nvml) if name.startswith("nvml")]
    assert len(called) == 7
    assert all(callable(getattr(pynvml, name)) for name in called)
    assert issubclass(pynvml.NVMLError, Exception)
    assert {"gpu"} <= {name for name, _ in pynvml.c_nvmlUtilization_t._fields_}
    assert {"used", "total"} <= {name for name, _ in pynvml.c_nvmlMemory_t._fields_}


def test_this_machine_is_read_without_harm():
    assert all(0 <= gpu.busy <= 1 and gpu.used_bytes <= gpu.all_bytes for gpu in Gpus().read())
