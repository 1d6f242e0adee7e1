import shutil
from pathlib import Path

import pytest
import torch

from inference.chatglm3.loader import Checkpoint, load
from inference.quant.offline import quantise
from tests.unit.inference import tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_folder: Path) -> Checkpoint:
    return load(tiny_folder, "float32")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be spoilt."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture(scope="session")
def quantised_folders(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> dict[int, Path]:
    """The tiny model in eight and in four bits."""
    home = tmp_path_factory.mktemp("quantised")
    for bits in (8, 4):
        quantise(tiny_folder, home / f"int{bits}", bits)
    return {bits: home / f"int{bits}" for bits in (8, 4)}


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
