"""Every way in which a checkpoint folder can be wrong is refused by name."""

import json
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.chatglm3 import loader
from inference.chatglm3.check import check
from inference.chatglm3.loader import load
from inference.engine import slots
from inference.engine.base import ModelFolderError
from inference.quant.float16 import Float16Linear
from tests.unit.inference.folders import same, single, state_of


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_shards_single_file_and_bin_give_the_same_model(folder, tiny_checkpoint):
    state = state_of(folder)
    sharded_revision = load(folder, "float32").revision
    single(folder, state)
    assert same(load(folder, "float32"), tiny_checkpoint)
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    torch.save({name: state[name] for name in names[:5]}, folder / "pytorch_model-1.bin")
    rest = {name: state[name] for name in names[5:]} | {"transformer.rotary_pos_emb.inv_freq": torch.ones(4)}
    torch.save(rest, folder / "pytorch_model-2.bin")
    weight_map = {name: f"pytorch_model-{1 if place < 5 else 2}.bin" for place, name in enumerate(names)}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    loaded = load(folder, "float32")
    assert same(loaded, tiny_checkpoint)
    assert loaded.revision != sharded_revision


def test_the_revision_follows_every_byte(folder, tiny_checkpoint):
    assert load(folder).revision == tiny_checkpoint.revision
    state = state_of(folder)
    state["transformer.encoder.final_layernorm.weight"][0] += 1
    single(folder, state)
    first = load(folder).revision
    state["transformer.encoder.final_layernorm.weight"][0] += 1
    single(folder, state)
    assert load(folder).revision != first


def test_bfloat16(folder):
    loaded = load(folder, "bfloat16")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_float16(folder, stored, tiny_checkpoint):
    """Matrices in sixteen bits, all else in float32; logits are those of the same weights in float32."""
    state = {name: tensor.to(stored) for name, tensor in state_of(folder).items()}
    single(folder, {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in state.items()})
    wide = load(folder, "float32").model
    single(folder, state)
    loaded = load(folder, "float16")
    model = loaded.model
    assert {parameter.dtype for parameter in model.parameters() if parameter.ndim == 1} == {torch.float32}
    assert model.model.embed_tokens.weight.dtype == (torch.bfloat16 if stored == torch.bfloat16 else torch.float16)
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear | Float16Linear)]
    assert layers
    assert {type(layer) for layer in layers} == {Float16Linear}
    ids = tiny_checkpoint.tokenizer.encode("hello")
    with torch.inference_mode():
        logits = []
        for each in (model, wide):
            slots.register(each)
            memory = slots.Memory(each.config, 16, loaded.precision.activations)
            logits.append(slots.prefill(each, memory, ids))
    assert (logits[0] - logits[1]).abs().max() <= 1e-4


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["transformer.output_layer.weight", "transformer.embedding.word_embeddings.weight"])
def test_weights_too_large_for_float16_are_refused_by_name(folder, stored, name):
    state = {each: tensor.to(stored) for each, tensor in state_of(folder).items()}
    state[name][3, 5] = -1e5
    single(folder, state)
    with pytest.raises(
        ModelFolderError, match=rf"{name} has values too large for float16: start with --dtype bfloat16"
    ):
        load(folder, "float16")
    load(folder, "bfloat16")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model", "model-00002-of-00002.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=name):
        load(folder)


def test_no_folder_and_no_weights(folder, tmp_path):
    with pytest.raises(ModelFolderError, match=r"nowhere.config\.json is missing"):
        load(tmp_path / "nowhere")
    for path in folder.glob("model*"):
        path.unlink()
    with pytest.raises(ModelFolderError, match="no weights"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 64, b"\xff\xff\xff\xff\xff\x00\x00\x00{}"])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "tokenizer.model"]
)
def test_a_damaged_file_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=name):
        load(folder)


def test_a_truncated_shard_is_named(folder):
    path = folder / "model-00001-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFolderError, match=path.name):
        load(folder)


@pytest.mark.parametrize(
    "more",
    [{"F32": (0, 16)}, {"F32": (8, 24)}, {"F32": (16, 48)}, {"C64": (0, 32)}],
    ids=["the same bytes", "overlapping", "beyond the end", "another type over all"],
)
def test_a_safetensors_file_whose_tensors_share_bytes_is_refused(folder, more):
    path = folder / "model-00001-of-00002.safetensors"
    tensors = {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    for dtype, (start, end) in more.items():
        tensors["y"] = {"dtype": dtype, "shape": [4], "data_offsets": [start, end]}
    header = json.dumps(tensors).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(32))
    with pytest.raises(ModelFolderError, match=f"{path.name} is damaged"):
        load(folder)


@pytest.mark.parametrize("fails", [lambda *_: torch.empty(2**60, dtype=torch.uint8), lambda *_: bytearray(2**62)])
def test_memory_that_the_system_does_not_give_is_said(folder, monkeypatch, fails):
    monkeypatch.setattr(loader, "_kept", fails)
    with pytest.raises(ModelFolderError, match="not enough memory for the weights"):
        load(folder)


def test_another_error_is_not_called_a_lack_of_memory(folder, monkeypatch):
    monkeypatch.setattr(loader, "_kept", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        load(folder)


def test_files_that_claim_to_be_huge_are_refused_without_reading_them(folder):
    """10 GB of header, of tokenizer, of index: sparse files, so that the test costs nothing."""
    for name in ("model-00001-of-00002.safetensors", "tokenizer.model", "model.safetensors.index.json"):
        path = folder / name
        kept = path.read_bytes()
        with path.open("wb") as file:
            file.write((10 * 2**30).to_bytes(8, "little"))
            file.truncate(10 * 2**30 + 8)
        began = time.monotonic()
        with pytest.raises(ModelFolderError, match=name):
            load(folder)
        assert time.monotonic() - began < 20
        path.write_bytes(kept)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.model"])
def test_an_endless_file_is_refused(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ModelFolderError, match=name):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_deep_nesting_is_refused(folder, name):
    whole = (folder / name).read_bytes().rstrip()
    (folder / name).write_bytes(whole[:-1] + b', "zz": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    with pytest.raises(ModelFolderError, match=name):
        load(folder)
    assert any(name in problem for problem in check(folder).problems)


def test_wrong_tensors_are_named(folder):
    name = "transformer.encoder.layers.1.mlp.dense_4h_to_h.weight"
    whole = state_of(folder)

    def refused(state, match):
        single(folder, state)
        with pytest.raises(ModelFolderError, match=match):
            load(folder)

    refused({key: value for key, value in whole.items() if key != name}, f"{name} is missing")
    refused(whole | {name: torch.zeros(3, 3)}, rf"{name} has shape \(3, 3\)")
    refused(whole | {"transformer.extra": torch.zeros(3)}, r"unknown tensor transformer\.extra")
    for value in ("nan", "inf", "-inf"):
        one = whole[name].to(torch.float16)
        one[1, 2] = float(value)
        refused(whole | {name: one}, f"{name} has values that are not finite")
    refused(whole | {name: torch.zeros_like(whole[name], dtype=torch.int8)}, f"{name} has type torch.int8")


def test_a_tensor_in_two_shards_is_refused(folder):
    first, second = sorted(folder.glob("*.safetensors"))
    name, tensor = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: tensor.clone()}, second)
    with pytest.raises(ModelFolderError, match=name):
        load(folder)


def test_an_index_cannot_lead_out_of_the_folder(folder):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][next(iter(index["weight_map"]))] = "../secret.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(ModelFolderError, match="no weight file of this folder"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "llama"}, "model_type"),
        ({"num_layers": "many"}, "num_layers"),
        ({"hidden_size": -1}, "hidden_size"),
        ({"rmsnorm": False}, "rmsnorm"),
        ({"multi_query_group_num": 3}, "multi_query_group_num"),
        ({"kv_channels": 18}, "kv_channels"),
        ({"num_layers": 10**6}, "num_layers"),
        ({"padded_vocab_size": 10**9}, "padded_vocab_size"),
        ({"seq_length": 10**9}, "seq_length"),
        ({"padded_vocab_size": 300}, "padded_vocab_size"),
        ({"num_layers": 3}, r"layers\.2\..* is missing"),
        ({"hidden_size": 96}, "has shape"),
        ({"pad_token_id": 1_000_000}, "pad_token_id"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(folder, changes, match):
    change_config(folder, **changes)
    with pytest.raises(ModelFolderError, match=match):
        load(folder)
