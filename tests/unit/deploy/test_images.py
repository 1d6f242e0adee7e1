"""Dockerfiles, the entry point and the script that makes secrets."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.rig.process import need

ROOT = Path(__file__).parents[3]
IMAGES = ("gateway", "inference")


def dockerfile(name: str) -> str:
    return (ROOT / f"deploy/{name}.Dockerfile").read_text()


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_pinned_and_not_root(name: str) -> None:
    text = dockerfile(name)
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    last = text.split("\nFROM ")[-1]
    user = re.search(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert user
    assert int(user[1]) > 0
    assert "HEALTHCHECK" in last
    assert "--require-hashes" in text


def test_the_gateway_has_no_torch() -> None:
    assert "requirements/gateway.lock" in dockerfile("gateway")
    assert "import torch" in dockerfile("gateway")


@pytest.mark.parametrize("name", IMAGES)
def test_everything_that_is_copied_exists_and_is_not_ignored(name: str) -> None:
    allowed = (ROOT / f"deploy/{name}.Dockerfile.dockerignore").read_text().split()
    assert "*" in allowed
    for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile(name), re.MULTILINE):
        sources = [part for part in line.split() if not part.startswith("--")][:-1]
        for source in sources:
            if not source.endswith(".lock"):
                assert (ROOT / source).exists(), source
            assert any(f"!{source}".startswith(entry.rstrip("/")) for entry in allowed if entry.startswith("!")), source


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").rglob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_executable_and_parses(path: Path) -> None:
    assert os.access(path, os.X_OK)
    shell = path.read_text().splitlines()[0].removeprefix("#!").rsplit("/", 1)[-1]
    subprocess.run([shell, "-n", str(path)], check=True)


def test_the_entry_point_turns_secret_files_into_settings(tmp_path: Path) -> None:
    secrets, memory = tmp_path / "secrets", tmp_path / "memory"
    secrets.mkdir()
    memory.mkdir()
    (secrets / "attest_database_url").write_text("postgresql+asyncpg://a:p w'\"$x@h/d\n")
    (secrets / "other_password").write_text("not for us")
    (secrets / "master_key").write_text("a2V5")
    script = tmp_path / "entrypoint.sh"
    text = (ROOT / "deploy/entrypoint.sh").read_text()
    text = text.replace("/tmp/master.key", f"{memory}/master.key")  # noqa: S108 - the container's own tmpfs
    script.write_text(text.replace("/run/secrets", str(secrets)))
    shown = subprocess.run(["sh", str(script), "env"], check=True, capture_output=True, text=True).stdout
    assert "ATTEST_DATABASE_URL=postgresql+asyncpg://a:p w'\"$x@h/d\n" in shown
    assert "not for us" not in shown
    assert f"ATTEST_MASTER_KEY_FILE={memory}/master.key" in shown
    assert (memory / "master.key").stat().st_mode & 0o777 == 0o600


def test_secrets_are_made_once_and_never_again(tmp_path: Path) -> None:
    need("openssl")
    script = tmp_path / "make-secrets.sh"
    shutil.copy(ROOT / "deploy/make-secrets.sh", script)
    subprocess.run([str(script), "example.com"], check=True, capture_output=True)
    folder = tmp_path / "secrets"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    wanted = re.findall(r"file: \./deploy/secrets/(\S+?)\}", (ROOT / "compose.yaml").read_text())
    assert set(wanted) <= set(first)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert first["postgres_password"].decode() not in {"", first["elastic_password"].decode()}
    assert first["attest_db_password"] in first["attest_database_url"]
    subprocess.run([str(script), "example.com"], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_domain_that_is_none_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    shutil.copy(ROOT / "deploy/make-secrets.sh", script)
    done = subprocess.run([str(script), "x;rm -rf y"], check=False, capture_output=True)
    assert done.returncode == 2


def test_a_companys_certificate_needs_its_companys_root(tmp_path: Path) -> None:
    need("openssl")
    script, folder, made = tmp_path / "make-secrets.sh", tmp_path / "secrets", tmp_path / "made"
    shutil.copy(ROOT / "deploy/make-secrets.sh", script)
    folder.mkdir()
    made.mkdir()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=made, check=False, capture_output=True, text=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    run("openssl", "req", "-x509", *key, "-keyout", "root.key", "-out", "root.crt", "-subj", "/CN=Root")
    run("openssl", "req", *key, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=example.com")
    run("openssl", "x509", "-req", "-in", "tls.csr", "-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial",
        "-out", "tls.crt")  # fmt: skip
    for name in ("tls.key", "tls.crt"):
        shutil.copy(made / name, folder / name)
    (folder / "tls.key").chmod(0o600)
    without = run(str(script), "example.com")
    assert (without.returncode, "ca.crt" in without.stderr) == (1, True)
    assert not (folder / "ca.crt").exists()
    shutil.copy(made / "root.crt", folder / "ca.crt")
    assert run(str(script), "example.com").returncode == 0
    assert (folder / "ca.crt").read_bytes() == (made / "root.crt").read_bytes()
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o444, "each service runs as a user of its own"
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(script, own)
    assert run(str(own / script.name), "example.com").returncode == 0
    for name in ("tls.key", "tls.crt"):  # without ca.crt, which stays the self-signed one
        (own / "secrets" / name).unlink()
        shutil.copy(made / name, own / "secrets" / name)
    again = run(str(own / script.name), "example.com")
    assert (again.returncode, "ca.crt" in again.stderr) == (1, True)
