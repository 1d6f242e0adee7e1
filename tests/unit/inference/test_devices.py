"""Where the torch engine computes, as far as it shows without a GPU: choice, precision, a pass that is whole.

The pass runs on torch's fake tensors, which compute nothing but refuse to mix devices as a GPU would.
"""

import asyncio

import pytest
import torch
from click.testing import CliRunner
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import GlmForCausalLM
from transformers.models.glm.modeling_glm import GlmRotaryEmbedding

from inference.cli import inference
from inference.engine import devices, slots
from inference.engine.base import ClosedError
from inference.engine.torch_engine import Limits, Threads, open_engine
from inference.errors import EngineFailedError
from inference.quant import precision
from inference.quant.precision import BFLOAT16, FLOAT16, FLOAT32
from tests.unit.inference.batches import ask, request, running, until

CUDA = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """Make torch say that there is a GPU; it returns what to change about it."""
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    return monkeypatch


@pytest.mark.parametrize(
    ("wanted", "quantised", "found"),
    [
        ("auto", False, CUDA),
        ("cuda", False, CUDA),
        ("cpu", False, devices.CPU),
        ("auto", True, devices.CPU),
        ("cpu", True, devices.CPU),
    ],
)
def test_a_gpu_is_taken_where_it_can_compute_the_model(gpu, wanted, quantised, found):
    assert devices.choose(wanted, quantised=quantised) == found


def test_without_a_gpu_auto_is_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose("auto", quantised=False) == devices.CPU


def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_refused_with_the_reason(gpu):
    with pytest.raises(devices.NoDeviceError, match=r"eight or four bits .* --device cpu"):
        devices.choose("cuda", quantised=True)
    gpu.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(devices.NoDeviceError, match="nvidia-smi"):
        devices.choose("cuda", quantised=False)
    gpu.setattr(torch.version, "cuda", None)
    with pytest.raises(devices.NoDeviceError, match="no CUDA: install one"):
        devices.choose("cuda", quantised=False)


def test_the_command_says_so_and_serves_nothing(tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(inference, ["--model", str(tiny_folder), "--device", "cuda"])
    assert result.exit_code == 1
    assert "--device cpu" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("parameters", "native", "wanted", "found"),
    [
        (6_000_000_000, True, "auto", BFLOAT16),
        (6_000_000_000, False, "auto", FLOAT32),
        (6_000_000_000, False, "bfloat16", BFLOAT16),
        (1_000_000, True, "auto", FLOAT32),
    ],
)
def test_a_gpu_without_bfloat16_computes_in_float32(gpu, parameters, native, wanted, found):
    gpu.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    assert precision.choose(wanted, parameters, CUDA) == found


@pytest.mark.parametrize(
    ("machine", "engines", "found"),
    [
        ({"architecture": "x86_64", "amx_bf16": False, "avx512_bf16": False}, ["fbgemm"], FLOAT16),
        ({"architecture": "x86_64", "amx_bf16": False, "avx512_bf16": False}, [], BFLOAT16),
        ({"architecture": "x86_64", "amx_bf16": False, "avx512_bf16": True}, ["fbgemm"], BFLOAT16),
        ({"architecture": "x86_64", "amx_bf16": True, "avx512_bf16": False}, ["fbgemm"], BFLOAT16),
        ({"architecture": "aarch64"}, ["qnnpack"], BFLOAT16),
    ],
)
def test_a_processor_without_bfloat16_keeps_large_weights_in_float16(monkeypatch, machine, engines, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: machine)
    monkeypatch.setattr(precision, "_quantised_engines", lambda: engines)
    assert precision.choose("auto", 6_000_000_000, devices.CPU) == found
    assert precision.choose("auto", 1_000_000, devices.CPU) == FLOAT32
    assert precision.choose("bfloat16", 6_000_000_000, devices.CPU) == BFLOAT16
    if "fbgemm" not in engines:
        with pytest.raises(devices.NoDeviceError, match="--dtype bfloat16"):
            precision.choose("float16", 6_000_000_000, devices.CPU)


def test_float16_is_refused_on_a_gpu(gpu):
    with pytest.raises(devices.NoDeviceError, match="--dtype bfloat16"):
        precision.choose("float16", 6_000_000_000, CUDA)


def test_a_pass_leaves_nothing_on_the_other_device(tiny_checkpoint, monkeypatch):
    waits = []
    monkeypatch.setattr(devices, "wait", waits.append)
    config = tiny_checkpoint.model.config
    with torch.device("meta"):
        model = GlmForCausalLM(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    fake = FakeTensorMode()
    with fake, torch.no_grad():
        model.load_state_dict({name: torch.empty(shape, device=CUDA) for name, shape in shapes.items()}, assign=True)
        model.model.rotary_emb = GlmRotaryEmbedding(config).to(CUDA)
        slots.register(model)
        memories = [slots.Memory(config, 40, torch.float32, CUDA) for _ in range(2)]
        for memory in memories:
            slots.prefill(model, memory, [1, 2, 3])
            read = slots.prefill(model, memory, [4, 5])
        step = slots.decode(model, memories, [6, 7], 4)
    assert (read.device, step.device) == (devices.CPU, devices.CPU), "tokens are chosen on the processor"
    assert (tuple(read.shape), tuple(step.shape)) == ((1, 512), (2, 512))
    assert [memory.length for memory in memories] == [6, 6]
    assert waits == [CUDA] * (2 * 2 * 3 * config.num_hidden_layers)
    with fake, torch.no_grad(), pytest.raises(RuntimeError, match="device"):
        slots.prefill(model, slots.Memory(config, 40, torch.float32), [1])


@pytest.mark.parametrize(
    ("native", "dtype", "warned"), [(False, "bfloat16", 1), (True, "bfloat16", 0), (False, "float16", 0)]
)
def test_bfloat16_that_is_imitated_is_served_with_a_warning(tiny_folder, monkeypatch, caplog, native, dtype, warned):
    monkeypatch.setattr(devices, "computes_bfloat16", lambda _: native)
    open_engine(tiny_folder, dtype=dtype, name="tiny", limits=Limits())
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["this device has no instructions for bfloat16: --dtype auto is several times as fast"] * warned


def test_a_large_version_computes_with_all_threads_whatever_else_is_open(monkeypatch, one_thread):
    torch.set_num_threads(2)
    threads = Threads()
    for parameters, used in ((28_000_000, 1), (6_000_000_000, 2), (28_000_000, 2)):
        threads.opens(parameters)
        assert torch.get_num_threads() == used


async def test_a_device_that_computes_no_more_is_not_tried_again(tiny_checkpoint, monkeypatch):
    def broken(*_):
        raise RuntimeError("an illegal memory access was encountered")

    async with running(tiny_checkpoint, places=1) as engine:
        monkeypatch.setattr(slots, "decode", broken)
        monkeypatch.setattr(devices, "works", lambda _: False)
        ends = await asyncio.gather(ask(engine, request()), ask(engine, request("next")), return_exceptions=True)
        # Prompts are made ready in threads, so either may come first.
        assert {type(end) for end in ends} == {EngineFailedError, ClosedError}
        await until(lambda: not engine.load().ready)
        with pytest.raises(ClosedError):
            await ask(engine, request())
        assert engine.load().restarts == 1


def test_memory_that_ran_out_is_no_broken_device(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError

    assert devices.works(devices.CPU)
    monkeypatch.setattr(torch, "ones", full)
    assert devices.works(devices.CPU)
