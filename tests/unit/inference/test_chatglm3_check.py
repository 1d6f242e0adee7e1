"""`attest inference check`: everything that is wrong with a checkpoint folder, at once."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from inference.adding import add
from inference.chatglm3.check import check
from inference.chatglm3.layout import DROPPED
from inference.chatglm3.loader import load
from inference.cli import inference
from inference.registry import Registry
from tests.unit.inference import tiny
from tests.unit.inference.folders import single, state_of


def test_check_names_everything_at_once(folder):
    report = check(folder)
    assert report.ok
    assert report.problems == ()
    assert report.revision == load(folder).revision
    assert report.parameters == sum(p.numel() for p in load(folder).model.parameters())
    state = state_of(folder)
    removed = sorted(state)[:2]
    for name in removed:
        del state[name]
    single(folder, state | {"extra": torch.zeros(1), "transformer.output_layer.weight": torch.zeros(2, 2)})
    (folder / "tokenizer.model").unlink()
    report = check(folder)
    said = "\n".join(report.problems)
    assert not report.ok
    assert all(f"tensor {name} is missing" in said for name in removed)
    assert "tensor extra is unknown" in said
    assert "output_layer.weight has shape (2, 2)" in said
    assert not report.tokenizer


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"])
def test_check_names_damaged_files(folder, name):
    (folder / name).write_bytes(b"{")
    problems = check(folder).problems
    assert any(name in problem for problem in problems)
    assert len(problems) == 1, "what such a file should hold is not called missing as well"


def test_check_looks_at_values(folder):
    state = state_of(folder)
    name = "transformer.encoder.final_layernorm.weight"
    state[name] = state[name].clone()
    state[name][0] = float("nan")
    single(folder, state)
    assert check(folder).problems == (f"{folder / 'model.safetensors'}: tensor {name} has values that are not finite",)
    (folder / "model.safetensors").write_bytes(b"{")
    assert len(check(folder).problems) == 1


def test_check_of_no_folder(tmp_path):
    done = CliRunner().invoke(inference, ["check", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert done.output == f"{tmp_path / 'none'} is not a folder\n{tmp_path / 'none'}: not ready\n"


def test_check_compares_with_a_list_of_hashes(folder):
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
    assert check(folder).problems == ()
    (folder / "SHA256SUMS").write_text("".join(lines) + "0" * 64 + " *gone.txt\n")
    (folder / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes() + b"\0")
    problems = check(folder).problems
    assert "gone.txt is missing (SHA256SUMS names it)" in problems
    assert "tokenizer.model is not the file that SHA256SUMS names" in problems
    (folder / "SHA256SUMS").write_text("nonsense\n")
    assert any("SHA256SUMS has a line" in problem for problem in check(folder).problems)


def test_check_names_every_missing_shard_and_looks_at_the_others(tmp_path):
    folder = tiny.build(tmp_path / "model", shards=4)
    shards = sorted(folder.glob("*.safetensors"))
    state = load_file(shards[0])
    name = next(iter(state))
    save_file(state | {name: torch.zeros(3, 3, 3)}, shards[0])
    for shard in shards[1:3]:
        shard.unlink()
    shards[3].write_bytes(b"{")
    report = check(folder)
    said = "is missing (model.safetensors.index.json names it)"
    assert report.problems[:2] == (f"{shards[1]} {said}", f"{shards[2]} {said}")
    assert any(problem.startswith(f"{shards[3]} is damaged") for problem in report.problems)
    assert any(problem.startswith(f"tensor {name} has shape (3, 3, 3)") for problem in report.problems)
    assert len(report.problems) == 4, "what missing and damaged files should hold is not called missing as well"
    assert report.revision == "", "part of a folder has no identity"


def test_check_names_weights_that_nothing_reads(folder):
    (folder / "model-99999.safetensors").write_bytes(b"junk")
    (folder / "pytorch_model.bin").write_bytes(b"junk")
    report = check(folder)
    assert (report.ok, report.revision) == (True, load(folder).revision), "served as if they were not there"
    said = "is not read: the weights are what model.safetensors.index.json names"
    assert report.notes == (f"model-99999.safetensors {said}", f"pytorch_model.bin {said}")
    done = CliRunner().invoke(inference, ["check", str(folder)])
    assert (done.exit_code, f"note: pytorch_model.bin {said}\n" in done.output) == (0, True)
    assert "ready to serve" in done.output
    (folder / "model-99999.safetensors").unlink()
    single(folder, state_of(folder))
    assert check(folder).notes == ("pytorch_model.bin is not read: the weights are model.safetensors",)


@pytest.mark.parametrize("kind", ["manifest.json", "SHA256SUMS"])
def test_check_names_what_a_list_of_files_lacks(folder, quantised_folders, tmp_path, kind):
    if kind == "SHA256SUMS":
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
        (folder / kind).write_text("".join(lines))
    else:
        folder = Path(shutil.copytree(quantised_folders[8], tmp_path / "int8"))
    assert (check(folder).ok, check(folder).notes) == (True, ())
    (folder / "modeling.py").write_text("x")
    (folder / "model.bin").write_bytes(b"junk")
    report = check(folder)
    said = (f"model.bin is not in {kind}", f"modeling.py is not in {kind}")
    assert (report.ok, report.notes[1:]) == (True, said)
    assert load(folder).revision == report.revision


def test_check_as_a_command(folder):
    done = CliRunner().invoke(inference, ["check", str(folder), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.output)["ok"] is True
    assert json.loads(done.output)["tokenizer"] is True
    (folder / "config.json").unlink()
    done = CliRunner().invoke(inference, ["check", str(folder)])
    assert done.exit_code == 1
    assert "config.json is missing" in done.output
    assert "not ready" in done.output


def test_a_folder_without_tokenizer_is_ready_for_token_ids_only(folder):
    (folder / "tokenizer.model").unlink()
    done = CliRunner().invoke(inference, ["check", str(folder)])
    assert done.exit_code == 0, done.output
    assert "tokenizer.model is missing" in done.output
    assert done.output.endswith("ready to serve token ids only\n")
    done = CliRunner().invoke(add, [str(folder), "--registry", str(folder.with_name("registry"))])
    assert done.exit_code == 1, "versions of a registry answer chats"
    assert "tokenizer.model is missing" in done.output
    (folder / "SHA256SUMS").write_text("0" * 64 + "  tokenizer.model\n")
    done = CliRunner().invoke(inference, ["check", str(folder)])
    assert done.exit_code == 1, "a list of hashes that names one says that the folder is not whole"


def test_a_folder_of_links_is_refused_as_such(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    for path in folder.iterdir():
        (links / path.name).symlink_to(path)
    assert check(links).ok
    done = CliRunner().invoke(add, [str(links), "--registry", str(tmp_path / "registry")])
    assert done.exit_code == 1
    assert "links are not followed (config.json, " in done.output
    assert "cp -rL" in done.output


def test_who_rolls_back_does_not_wait_for_who_adds(folder, tmp_path, monkeypatch):
    registry = Registry(tmp_path / "registry")
    free = []

    def checked(plain):
        with registry.locked():
            free.append(True)
        return check(plain)

    monkeypatch.setattr("inference.adding.check", checked)
    done = CliRunner().invoke(add, [str(folder), "--registry", str(registry.folder)])
    assert done.exit_code == 0, done.output
    assert free == [True]
    assert registry.read().active == done.output.strip()
    registry.file.write_text("nonsense")
    done = CliRunner().invoke(add, [str(folder), "--registry", str(registry.folder)])
    assert done.exit_code == 3
    assert len(free) == 1, "a registry that cannot be read is refused before anything is copied"
    assert not list(registry.folder.glob("versions/.adding-*"))


def test_a_version_can_be_added_after_it_could_not_be_written(folder, tmp_path):
    registry, command = Registry(tmp_path / "registry"), [str(folder), "--registry", str(tmp_path / "registry")]
    (registry.folder / ".registry.json.new").mkdir(parents=True)  # as good as a full disk
    done = CliRunner().invoke(add, command)
    assert done.exit_code == 3
    assert not list(registry.folder.glob("versions/*")), "nothing is left behind"
    (registry.folder / ".registry.json.new").rmdir()
    done = CliRunner().invoke(add, command)
    assert done.exit_code == 0, done.output
    # A process that was killed between folder and state leaves a folder that no state names.
    registry.file.unlink()
    done = CliRunner().invoke(add, command)
    assert done.exit_code == 0, done.output
    (version,) = registry.read().versions
    assert [path.name for path in registry.folder.glob("versions/*")] == [version.id]
    assert check(registry.folder_of(version)).ok


def test_what_becomes_of_the_folder_changes_no_version(folder, tmp_path):
    registry = Registry(tmp_path / "registry")
    done = CliRunner().invoke(add, [str(folder), "--registry", str(registry.folder)])
    assert done.exit_code == 0, done.output
    (version,) = registry.read().versions
    for path in folder.iterdir():
        with path.open("r+b") as file:
            file.write(b"overwritten")
    assert check(registry.folder_of(version)).revision == version.revision


@pytest.mark.parametrize(
    "value", [torch.empty(0), torch.zeros(2).to(torch.float8_e4m3fn), torch.full((2,), float("nan"))]
)
def test_a_tensor_that_is_dropped_may_be_as_it_likes(folder, value):
    single(folder, state_of(folder) | {DROPPED: value})
    assert check(folder).problems == ()
    assert load(folder).revision == check(folder).revision


def test_names_in_a_file_cannot_drive_the_terminal(folder, tmp_path):
    single(folder, state_of(folder) | {"x\r\x1b[2K\x9b\u202e\n/models/x: ready to serve": torch.zeros(1)})
    said = "tensor x\\u000d\\u001b[2K\\u009b\\u202e\\u000a/models/x: ready to serve is unknown\n"
    done = CliRunner().invoke(inference, ["check", str(folder)])
    assert done.output.startswith(said)
    done = CliRunner().invoke(add, [str(folder), "--registry", str(tmp_path / "registry")])
    assert done.stderr == said
    done = CliRunner().invoke(inference, ["check", str(folder), "--json"])
    assert done.output.rstrip("\n").isprintable()
    assert "\x9b" in json.loads(done.output)["problems"][0]
