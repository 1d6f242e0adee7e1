from pathlib import Path

import pytest

from inference.chatglm3.loader import Checkpoint, load
from tests.unit.inference import tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_folder: Path) -> Checkpoint:
    return load(tiny_folder, "float32")
