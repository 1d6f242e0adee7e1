"""`attest inference quantise`: from a published folder to a served one, and what is refused by name."""

import hashlib
import json
import math

import msgspec
import pytest
import torch
from click.testing import CliRunner
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from inference.chatglm3.check import check
from inference.chatglm3.layout import published_shapes
from inference.chatglm3.loader import load
from inference.cli import DEMO, inference
from inference.engine.base import ModelFolderError
from inference.quant import manifest, offline
from inference.quant.int4 import Int4Linear
from inference.quant.int8 import Int8Linear
from inference.quant.offline import QuantiseError, quantise
from inference.quant.plan import Quantisation, weight_bytes

TEXTS = (
    "How many days of holiday do I have? Please ask your manager or the staff office.",
    "今天天气怎么样？我不知道今天的天气，请看天气预报。",
    "The capital of France is Paris. The capital of Japan is Tokyo.",
)


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Matrices this small cost more in handing them to threads than in computing them."""


def copy(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def change_shard(folder, **changes):
    """Change tensors by the ends of their names (dots as __), and leave the manifest out: the loader must see it."""
    (folder / manifest.MANIFEST).unlink(missing_ok=True)
    path = folder / "model-00001.safetensors"
    state = load_file(path)
    for ending, change in changes.items():
        name = next(name for name in state if name.endswith(ending.replace("__", ".")))
        state[name] = change(state[name])
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)


@pytest.mark.parametrize("bits", [8, 4])
def test_the_folder_is_served_and_its_manifest_tells_how_it_came_about(
    quantised_folders, tiny_folder, tiny_checkpoint, bits
):
    folder = quantised_folders[bits]
    loaded = load(folder, "float32")
    kinds = {type(module) for module in loaded.model.modules() if isinstance(module, Int8Linear | Int4Linear)}
    assert kinds == ({Int8Linear} if bits == 8 else {Int8Linear, Int4Linear}), "the output layer stays in eight bits"
    found = manifest.read(folder)
    assert (found.precision, found.method, found.group_size) == (f"int{bits}", "attest", 64)
    assert found.source.revision == tiny_checkpoint.revision
    for name, file in found.source.files.items():
        assert file.sha256 == hashlib.sha256((tiny_folder / name).read_bytes()).hexdigest()
    there = {path.name for path in folder.iterdir()} - {manifest.MANIFEST}
    assert found.files.keys() == there
    matrices = [name for name, shape in published_shapes(loaded.published.shapes).items() if len(shape) == 2]
    assert found.matrices.keys() == set(matrices) - {"transformer.embedding.word_embeddings.weight"}
    bound = 0.01 if bits == 8 else 0.1
    assert all(0 < matrix.error < (bound if matrix.bits == bits else 0.01) for matrix in found.matrices.values())
    assert loaded.revision != tiny_checkpoint.revision
    assert loaded.stop_ids == tiny_checkpoint.stop_ids


@pytest.mark.parametrize(("bits", "most"), [(8, 0.003), (4, 0.05)])
def test_a_trained_model_keeps_what_it_knows(tmp_path, bits, most):
    """Nats a token on ordinary sentences, beside those of the demo model as it ships."""
    quantise(DEMO, tmp_path / "demo", bits)
    losses = []
    for folder in (DEMO, tmp_path / "demo"):
        loaded = load(folder, "float32")
        special = loaded.tokenizer.specials
        ids = [[special.gmask, special.sop, *loaded.tokenizer.encode(text)] for text in TEXTS]
        with torch.inference_mode():
            each = [
                cross_entropy(loaded.model(torch.tensor([row])).logits[0, 1:-1], torch.tensor(row[2:])) for row in ids
            ]
        losses.append(sum(each).item() / len(each))
    assert math.isfinite(losses[0])
    assert losses[1] - losses[0] < most * losses[0], losses


@pytest.mark.parametrize("bits", [8, 4])
def test_check_knows_the_precision_and_what_it_needs(quantised_folders, bits, tiny_folder):
    report = check(quantised_folders[bits])
    assert (report.ok, report.problems, report.precision) == (True, (), f"int{bits}")
    size = weight_bytes(published_shapes(load(tiny_folder).published.shapes), Quantisation(bits))
    assert report.weight_bytes == {f"int{bits}": size}
    on_disk = sum(path.stat().st_size for path in quantised_folders[bits].glob("*.safetensors"))
    # Weights that are not quantised are float32 in this source; on disk they are bfloat16, as in memory.
    assert 0 <= on_disk - size < 16_384, "nothing but names beside the weights"
    wide = check(tiny_folder)
    assert wide.precision == "float"
    assert set(wide.weight_bytes) == {"float32", "bfloat16", "int8", "int4"}
    assert wide.weight_bytes[f"int{bits}"] == size


def test_memory_at_the_published_size():
    config = {"padded_vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696, "num_layers": 28}
    config |= {"num_attention_heads": 32, "multi_query_group_num": 2, "kv_channels": 128, "seq_length": 8192}
    from inference.chatglm3.config import Published  # noqa: PLC0415

    published = msgspec.convert(config, Published)
    shapes, wide = published_shapes(published.shapes), 2 * published.parameters
    assert weight_bytes(shapes, Quantisation(8)) < 0.6 * wide
    assert weight_bytes(shapes, Quantisation(4)) < 0.35 * wide


@pytest.mark.parametrize("name", ["model-00001.safetensors", "config.json", "tokenizer.model"])
def test_a_file_that_the_manifest_does_not_know_is_refused_by_name(quantised_folders, tmp_path, name):
    folder = copy(quantised_folders[8], tmp_path / "model")
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(ModelFolderError, match=f"{name} is not the file that manifest.json names"):
        load(folder)
    assert f"{name} is not the file that manifest.json names" in check(folder).problems
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=name):
        load(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"format": 2}', "damaged"),
        ("\xff", "damaged"),
    ],
)
def test_a_damaged_manifest_is_refused(quantised_folders, tmp_path, text, said):
    folder = copy(quantised_folders[8], tmp_path / "model")
    (folder / manifest.MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelFolderError, match=f"manifest.json is {said}"):
        load(folder)
    assert any(said in problem for problem in check(folder).problems)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers.0.mlp.dense_h_to_4h__weight": lambda _: torch.zeros(3, 64, dtype=torch.int8)}, "has shape"),
        ({"layers.0.mlp.dense_h_to_4h__weight": lambda tensor: tensor.half()}, "has type"),
        ({"layers.0.mlp.dense_h_to_4h__weight_scale": lambda tensor: tensor * math.nan}, "not finite"),
        ({"layers.0.mlp.dense_h_to_4h__weight_scale": lambda _: None}, "is missing"),
    ],
)
def test_wrong_tensors_are_refused_by_name(quantised_folders, tmp_path, changes, said):
    folder = copy(quantised_folders[8], tmp_path / "model")
    change_shard(folder, **changes)
    with pytest.raises(ModelFolderError, match=f"mlp.dense_h_to_4h.weight.*{said}"):
        load(folder)


@pytest.mark.parametrize("config", [{"bits": 3}, {"bits": 8, "quant_method": "gptq"}, {"bits": 4, "group_size": 32}])
def test_other_kinds_of_quantisation_are_refused(quantised_folders, tmp_path, config):
    folder = copy(quantised_folders[8], tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": config}))
    (folder / manifest.MANIFEST).unlink()
    with pytest.raises(ModelFolderError, match=r"config.json.*quantization_config"):
        load(folder)


def test_what_cannot_be_quantised_leaves_nothing_behind(quantised_folders, tiny_folder, tmp_path):
    with pytest.raises(QuantiseError, match="quantised already"):
        quantise(quantised_folders[8], tmp_path / "out", 8)
    with pytest.raises(QuantiseError, match=r"is off by \d"):
        quantise(tiny_folder, tmp_path / "out", 4, most_error=0.01)
    damaged = copy(tiny_folder, tmp_path / "damaged")
    shard = next(damaged.glob("*.safetensors"))
    state = load_file(shard)
    name = max(state)
    save_file(state | {name: state[name] * math.nan}, shard)
    with pytest.raises(QuantiseError, match=f"{name} has values that are not finite"):
        quantise(damaged, tmp_path / "out", 8)
    with pytest.raises(QuantiseError, match=r"config\.json is missing"):
        quantise(tmp_path, tmp_path / "out", 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged"]
    (tmp_path / "out").mkdir()
    with pytest.raises(QuantiseError, match="exists already"):
        quantise(tiny_folder, tmp_path / "out", 8)
    (tmp_path / "new.partial").mkdir()
    with pytest.raises(QuantiseError, match="another run is at work"):
        quantise(tiny_folder, tmp_path / "new", 8)
    assert (tmp_path / "new.partial").is_dir(), "the other run's work is left alone"


def test_large_folders_are_written_in_parts(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "_PART_BYTES", 20_000)
    monkeypatch.setattr(offline, "_BLOCK_VALUES", 1000)
    said: list[str] = []
    quantise(tiny_folder, tmp_path / "parts", 4, say=said.append)
    quantise(tiny_folder, tmp_path / "whole", 4)
    assert len(said) == len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    # In bfloat16 every weight is a buffer, which can be compared.
    one, two = (load(tmp_path / name, "bfloat16").model.state_dict() for name in ("parts", "whole"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_command(tiny_folder, tmp_path):
    run = CliRunner().invoke
    done = run(inference, ["quantise", str(tiny_folder), str(tmp_path / "out"), "--bits", "8"])
    assert done.exit_code == 0, done.output
    assert "furthest off: transformer." in done.output
    checked = run(inference, ["check", str(tmp_path / "out")])
    assert checked.exit_code == 0
    assert "in int8" in checked.output
    again = run(inference, ["quantise", str(tiny_folder), str(tmp_path / "out"), "--bits", "8"])
    assert (again.exit_code, "exists already" in again.output) == (1, True)
    assert run(inference, ["quantise", str(tiny_folder), str(tmp_path / "x"), "--bits", "5"]).exit_code == 2


def test_an_error_that_is_no_number_is_none_that_may_be(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "_matrix", lambda name, tensor, _bits: ({name: tensor}, math.nan))
    with pytest.raises(QuantiseError, match="nan"):
        quantise(tiny_folder, tmp_path / "out", 8)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_said(tiny_folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(offline, "save_file", full)
    with pytest.raises(QuantiseError, match=r"cannot be written: .*No space left"):
        quantise(tiny_folder, tmp_path / "out", 8)
    assert list(tmp_path.iterdir()) == []
