"""`attest models`: how the commands end where the registry cannot be used."""

from contextlib import asynccontextmanager

import pytest
from click.testing import CliRunner

from gateway.commands.models import models
from inference import versions
from inference.registry import Registry
from inference.versions import State, Version

COMMANDS = [("activate", "two"), ("rollback",), ("canary", "two", "--percent", "5"), ("remove", "two")]


@asynccontextmanager
async def no_log():
    yield None


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_lock_that_cannot_be_taken_is_no_matter_of_versions(tmp_path, monkeypatch, command):
    for module in ("change", "remove"):
        monkeypatch.setattr(f"gateway.commands.models.{module}.opened", no_log)
    registry, state = Registry(tmp_path), State(model="glm")
    for name in ("one", "two"):
        version = Version(versions.version_id(name, "0" * 64), name, "0" * 64, "int8", "0" * 64, 1, versions.now())
        state = versions.added(state, version)
    with registry.locked() as write:
        write(versions.activated(state, "one"))
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()
    done = CliRunner().invoke(models, [*command, "--registry", str(tmp_path)])
    assert (done.exit_code, done.output) == (3, f"{tmp_path} cannot be written: Is a directory\n")
    (tmp_path / ".lock").rmdir()
    done = CliRunner().invoke(models, ["activate", "three", "--registry", str(tmp_path)])
    assert done.exit_code == 1
