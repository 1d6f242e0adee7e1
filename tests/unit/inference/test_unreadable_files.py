"""A file or folder that may not be read is named, with what the system says of it; nothing ends in a traceback."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from inference.chatglm3 import folder as folders
from inference.chatglm3.check import check
from inference.chatglm3.loader import load
from inference.cli import inference
from inference.engine.base import ModelFolderError
from inference.quant.offline import QuantiseError, quantise

DENIED = "cannot be read: Permission denied"
SHARD = "model-00001-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def deny(monkeypatch):
    """Make files of a name unreadable, also for root, who may read what nobody else may."""

    def denied(name):
        opened, mapped = Path.open, folders.safe_open

        def refusing(path, *args, **kwargs):
            if path.name == name:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return opened(path, *args, **kwargs)

        def missing(path, *args, **kwargs):
            if Path(path).name == name:
                raise FileNotFoundError(f"No such file or directory: {path}")  # as safetensors says then
            return mapped(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refusing)
        monkeypatch.setattr(folders, "safe_open", missing)

    return denied


@pytest.fixture
def listed(folder):
    """A folder with hashes of its files."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / folders.SUMS).write_text("".join(lines))
    return folder


@pytest.mark.parametrize("name", [SHARD, INDEX, folders.SUMS, "tokenizer.model", "config.json", "README.md"])
def test_check_names_it_once_and_checks_the_others(listed, deny, name):
    (listed / "README.md").write_text("a card")
    (listed / "generation_config.json").write_text("{}")
    with (listed / folders.SUMS).open("a") as sums:
        sums.write(f"{'0' * 64}  generation_config.json\n{'0' * 64}  README.md\n")
    deny(name)
    problems = check(listed).problems
    assert [problem for problem in problems if name in problem] == [f"{listed / name} {DENIED}"]
    others = [problem for problem in problems if name not in problem]
    if name in (folders.SUMS, "config.json"):
        assert others == []
    else:
        wrong = {"generation_config.json", "README.md"} - {name}
        assert set(others) == {f"{one} is not the file that SHA256SUMS names" for one in wrong}
    done = CliRunner().invoke(inference, ["check", str(listed)])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert f"{name} {DENIED}" in done.output


@pytest.mark.parametrize("name", [SHARD, INDEX, "tokenizer.model", "config.json"])
def test_it_is_not_served_and_not_quantised(folder, deny, tmp_path, name):
    (folder / "README.md").write_text("a card")
    deny(name)
    with pytest.raises(ModelFolderError, match=f"{name} {DENIED}"):
        load(folder)
    with pytest.raises(QuantiseError, match=f"{name} {DENIED}"):
        quantise(folder, tmp_path / "out", 8)
    assert not list(tmp_path.glob("out*"))


def test_a_card_that_cannot_be_copied_is_what_is_named(folder, deny, tmp_path):
    (folder / "README.md").write_text("a card")
    deny("README.md")
    done = CliRunner().invoke(inference, ["quantise", str(folder), str(tmp_path / "out"), "--bits", "8"])
    assert (done.exit_code, f"README.md {DENIED}" in done.output) == (1, True)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", ["manifest.json", "model-00001.safetensors", "tokenizer.model"])
def test_a_quantised_folder(quantised_folders, deny, name):
    folder = quantised_folders[8]
    deny(name)
    assert check(folder).problems == (f"{folder / name} {DENIED}",)
    with pytest.raises(ModelFolderError, match=f"{name} {DENIED}"):
        load(folder)


def test_a_folder_that_may_not_be_entered(folder, monkeypatch):
    stat = Path.stat

    def refusing(path, **kwargs):
        if folder in path.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **kwargs)

    monkeypatch.setattr(Path, "stat", refusing)
    done = CliRunner().invoke(inference, ["check", str(folder)])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert f"{folder} {DENIED}" in done.output
    with pytest.raises(ModelFolderError, match=DENIED):
        load(folder)
    with pytest.raises(folders.FolderError, match=DENIED):
        folders.find_weights(folder)
