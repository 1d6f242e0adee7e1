"""The verifier as a stranger runs it: one file, in a folder of its own."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import audit.verify
from audit.verify import main
from tests.unit.audit.bundles import Log, honest


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a new environment in which `cryptography` is found, and nothing else that was installed."""
    folder = tmp_path_factory.mktemp("check") / "check"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in ("cryptography", "_cffi_backend"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
            (packages / found.name).symlink_to(found)
    return str(folder / "bin" / "python")


def test_nothing_of_attest_can_be_imported_there(python):
    for name in ("audit", "gateway", "msgspec", "sqlalchemy"):
        done = subprocess.run([python, "-I", "-c", f"import {name}"], capture_output=True, text=True, check=False)
        assert f"No module named '{name}'" in done.stderr


@pytest.fixture(scope="module")
def log() -> Log:
    return honest(40)


def test_the_command_runs_alone_and_says_it_all(log, tmp_path, python):
    """In a folder of its own, with `cryptography` alone to be found (nothing of Attest is importable)."""
    shutil.copy(audit.verify.__file__, tmp_path / "verify.py")
    log.write(tmp_path / "bundle.zip")
    (tmp_path / "key").write_text(log.signer.public + "\n")
    (tmp_path / "kept").write_bytes(log.checkpoint(40))

    def run(*words: str):
        command = [python, "-I", "verify.py", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    good = run("bundle.zip", "--key", "key", "--checkpoint", "kept")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-1] == "OK: all holds"
    as_json = run("bundle.zip", "--json")
    assert json.loads(as_json.stdout)["ok"] is True
    data = bytearray((tmp_path / "bundle.zip").read_bytes())
    at = data.index(b"person-3")
    data[at] ^= 1
    (tmp_path / "bundle.zip").write_bytes(data)
    bad = run("bundle.zip", "--json")
    assert bad.returncode == 1
    *findings, summary = map(json.loads, bad.stdout.splitlines())
    assert (findings[0]["code"], findings[0]["record"]) == ("altered", 3)
    assert summary["findings"] == len(findings)
    assert "record 3: altered" in run("bundle.zip").stdout
    assert run("bundle.zip", "--nonsense").returncode == 2
    assert run("nothing.zip").returncode == 1
    assert run("bundle.zip", "--key", "bundle.zip").returncode == 2


def test_it_imports_nothing_but_the_standard_library_and_cryptography():
    tree = ast.parse(Path(audit.verify.__file__).read_text())
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} - sys.stdlib_module_names == {"cryptography"}


def test_main_needs_no_terminal(log, tmp_path, capsys):
    assert main([str(log.write(tmp_path / "bundle"))]) == 0
    assert capsys.readouterr().out.endswith("OK: all holds\n")
