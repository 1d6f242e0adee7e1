"""What `make demo-audit` does: the running product, a bundle, and its verification in an empty environment."""

import ast
import os
import subprocess
from pathlib import Path

import pytest

from tests import demo_audit


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_bundle_of_the_running_product_verifies_in_an_empty_environment(tmp_path, capfd):
    os.environ.setdefault("UV", _uv())
    demo_audit.main(tmp_path / "demo")
    told = capfd.readouterr().out
    assert told.count("OK: all holds") == 2
    assert "altered: its leaf is not the one that was logged" in told
    python = tmp_path / "demo" / "alone-environment" / "bin" / "python"
    listed = "from importlib.metadata import distributions as d; print(sorted({one.name.lower() for one in d()}))"
    names = subprocess.run([python, "-I", "-c", listed], capture_output=True, text=True, check=True).stdout
    assert not {"attest", "sqlalchemy", "msgspec", "click"} & set(ast.literal_eval(names))
    assert "cryptography" in names


def _uv() -> str:
    beside = Path(demo_audit.ROOT, ".venv-uv", "bin", "uv")
    return str(beside) if beside.exists() else ""


def test_only_what_the_verifier_needs_is_taken_from_the_lock():
    lock = (demo_audit.ROOT / "requirements" / "gateway.lock").read_text()
    lines = [line for line in demo_audit.locked(lock).splitlines() if not line.startswith(" ")]
    assert [line.partition("==")[0] for line in lines] == ["cffi", "cryptography", "pycparser"]
    assert "--hash=sha256:" in demo_audit.locked(lock)
