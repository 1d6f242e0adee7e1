"""Weights at rest: what is encrypted is served as it was, and no byte of it can be changed, moved or cut off."""

import base64
import io
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from inference import sealing
from inference.chatglm3.check import check
from inference.chatglm3.folder import find_weights, revision
from inference.cli import inference
from inference.engine.base import ModelFolderError
from inference.engine.torch_engine import Limits, open_engine
from inference.sealed import CHUNK, SUFFIX, SealedError, plain_view, seal, unseal
from inference.weight_keys import CommandKeys, LocalKey, WeightKeyError, keys_from, new_key

KEYS = LocalKey(b"k" * 32)


def opened(path, keys=KEYS) -> bytes:
    found = io.BytesIO()
    unseal(path, keys, found)
    return found.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_what_is_sealed_comes_back(tmp_path, size):
    plain = tmp_path / "w.safetensors"
    plain.write_bytes(data := os.urandom(size))
    seal(plain, tmp_path / "s", KEYS)
    assert opened(tmp_path / "s") == data
    assert size < 64 or data[:64] not in (tmp_path / "s").read_bytes()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealed")
    (folder / "w.bin").write_bytes(b"x" * (2 * CHUNK + 100))
    seal(folder / "w.bin", folder / "w.bin.sealed", KEYS)
    return (folder / "w.bin.sealed").read_bytes()


@pytest.mark.parametrize("place", [0, 17, 40, 120, 300, CHUNK, 2 * CHUNK, -1, -60])
def test_a_flipped_byte_is_refused_by_name(tmp_path, sealed, place):
    data = bytearray(sealed)
    data[place] ^= 1
    (tmp_path / "w.bin.sealed").write_bytes(data)
    with pytest.raises(SealedError, match=r"w\.bin\.sealed"):
        opened(tmp_path / "w.bin.sealed")


def test_chunks_cannot_be_moved_cut_off_or_added(tmp_path, sealed):
    path, whole = tmp_path / "w.bin.sealed", CHUNK + 16
    start = len(sealed) - 2 * whole - 116
    first, second = sealed[start : start + whole], sealed[start + whole : start + 2 * whole]
    for altered in (
        sealed[:start] + second + first + sealed[-116:],
        sealed[: start + whole],
        sealed[:-1],
        sealed + b"\0",
        sealed[:10],
        b"",
    ):
        path.write_bytes(altered)
        with pytest.raises(SealedError, match=r"w\.bin\.sealed"):
            opened(path)


def test_another_key_does_not_fit(tmp_path, sealed):
    (tmp_path / "w").write_bytes(sealed)
    with pytest.raises(SealedError, match="does not fit"):
        opened(tmp_path / "w", LocalKey(b"o" * 32))


def test_keys_come_from_a_command_a_file_or_the_environment(tmp_path):
    path = tmp_path / "key"
    new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(WeightKeyError, match="cannot be made"):
        new_key(path)
    wrapped = keys_from({"ATTEST_MODEL_KEY_FILE": str(path)}).wrap(b"secret", b"about")
    assert keys_from({"ATTEST_MODEL_KEY": path.read_text()}).unwrap(wrapped, b"about") == b"secret"
    with pytest.raises(WeightKeyError):
        keys_from({"ATTEST_MODEL_KEY": path.read_text()}).unwrap(wrapped, b"other")
    path.chmod(0o644)
    for environ in (
        {"ATTEST_MODEL_KEY_FILE": str(path)},
        {"ATTEST_MODEL_KEY_FILE": "/nonexistent"},
        {"ATTEST_MODEL_KEY": "?"},
        {"ATTEST_MODEL_KEY": base64.b64encode(b"short").decode()},
        {},
    ):
        with pytest.raises(WeightKeyError):
            keys_from(environ)


def test_a_key_service_is_asked_by_a_command(tmp_path):
    """A service that turns every byte; it is given what the key is bound to."""
    script = tmp_path / "kms"
    script.write_text(
        "#!/usr/bin/env python3\n"
        "import base64, os, sys\n"
        "assert sys.argv[1] in ('wrap', 'unwrap') and len(os.environ['ATTEST_KEY_CONTEXT']) == 64\n"
        "print(base64.b64encode(bytes(b ^ 255 for b in base64.b64decode(input()))).decode())\n"
    )
    script.chmod(0o755)
    (tmp_path / "w.bin").write_bytes(b"weights")
    keys = keys_from({"ATTEST_MODEL_KEY_COMMAND": str(script), "ATTEST_MODEL_KEY": "unused"})
    seal(tmp_path / "w.bin", tmp_path / "s", keys)
    assert opened(tmp_path / "s", keys) == b"weights"
    with pytest.raises(SealedError, match="failed to unwrap"):
        opened(tmp_path / "s", CommandKeys("/bin/false"))


@pytest.fixture(scope="module")
def encrypted(tiny_folder, tmp_path_factory):
    """Encrypt the tiny checkpoint by the command."""
    place = tmp_path_factory.mktemp("rest")
    arguments = ["encrypt", str(tiny_folder), str(place / "out"), "--new-key", str(place / "key")]
    done = CliRunner().invoke(inference, arguments)
    assert done.exit_code == 0, done.output
    return place / "out", {"ATTEST_MODEL_KEY_FILE": str(place / "key")}


def test_an_encrypted_folder_is_the_same_model_and_leaves_nothing_on_disk(
    encrypted, tiny_folder, monkeypatch, tmp_path
):
    folder, environ = encrypted
    assert not list(folder.glob("*.safetensors"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    same = revision(tiny_folder, find_weights(tiny_folder))
    with plain_view(folder, environ) as view:
        assert check(view).ok
        written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
        assert written == [], "the view holds links alone"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("ATTEST_MODEL_KEY_FILE", environ["ATTEST_MODEL_KEY_FILE"])
    engine = open_engine(folder, dtype="float32", name="tiny", limits=Limits())
    assert engine.info.revision == same


def test_without_its_key_or_with_a_flipped_byte_it_is_not_served(encrypted, monkeypatch, tmp_path):
    folder, environ = encrypted
    with pytest.raises(ModelFolderError, match="ATTEST_MODEL_KEY"):
        open_engine(folder, dtype="float32", name="tiny", limits=Limits())
    monkeypatch.setenv("ATTEST_MODEL_KEY_FILE", environ["ATTEST_MODEL_KEY_FILE"])
    altered = tmp_path / "altered"
    altered.mkdir()
    for path in folder.iterdir():
        (altered / path.name).write_bytes(path.read_bytes())
    victim = sorted(altered.glob(f"*{SUFFIX}"))[1]
    data = bytearray(victim.read_bytes())
    data[-100] ^= 1
    victim.write_bytes(data)
    with pytest.raises(ModelFolderError, match=victim.name):
        open_engine(altered, dtype="float32", name="tiny", limits=Limits())
    checked = CliRunner().invoke(inference, ["check", str(altered)])
    assert checked.exit_code == 1
    assert victim.name in checked.output
    checked = CliRunner().invoke(inference, ["check", str(altered), "--json"])
    assert checked.exit_code == 1
    assert json.loads(checked.output)["problems"] == [f"{victim} was altered (chunk 0)"]
    first, second = sorted(folder.glob(f"*{SUFFIX}"))
    victim.write_bytes(first.read_bytes())
    with pytest.raises(ModelFolderError, match=f"{second.name} holds another file"):
        open_engine(altered, dtype="float32", name="tiny", limits=Limits())


def test_what_is_no_sealed_file_or_there_twice_is_said(encrypted, monkeypatch, tmp_path):
    folder, environ = encrypted
    monkeypatch.setenv("ATTEST_MODEL_KEY_FILE", environ["ATTEST_MODEL_KEY_FILE"])
    spoilt = Path(shutil.copytree(folder, tmp_path / "spoilt"))
    os.mkfifo(spoilt / f"x.safetensors{SUFFIX}")
    assert CliRunner().invoke(inference, ["check", str(spoilt)]).exit_code == 0, "what is no file is left alone"
    name = min(folder.glob(f"*{SUFFIX}")).stem
    (spoilt / name).touch()
    done = CliRunner().invoke(inference, ["check", str(spoilt)])
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert f"{name}{SUFFIX} stands beside {name}" in done.output


def test_what_needs_plain_weights_says_so(encrypted, tmp_path):
    folder, _ = encrypted
    done = CliRunner().invoke(inference, ["quantise", str(folder), str(tmp_path / "int8"), "--bits", "8"])
    assert done.exit_code == 1
    assert ".safetensors.sealed is encrypted" in done.output
    (folder / "model.safetensors.index.json").rename(tmp_path / "index")
    try:
        (folder / "model.safetensors.sealed").touch()
        done = CliRunner().invoke(inference, ["quantise", str(folder), str(tmp_path / "int8"), "--bits", "8"])
        assert "model.safetensors.sealed is encrypted" in done.output
    finally:
        (folder / "model.safetensors.sealed").unlink()
        (tmp_path / "index").rename(folder / "model.safetensors.index.json")


@pytest.mark.parametrize("arguments", [[], ["--new-key", "/nonexistent/key"]])
def test_encrypting_without_a_key_leaves_nothing(tiny_folder, tmp_path, arguments):
    done = CliRunner().invoke(inference, ["encrypt", str(tiny_folder), str(tmp_path / "out"), *arguments])
    assert done.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_a_key_that_nothing_is_encrypted_with_does_not_stay(tiny_folder, tmp_path):
    key = tmp_path / "key"
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "out"), "--new-key", str(key)]
    done = CliRunner().invoke(inference, ["encrypt", str(tmp_path / "empty"), *arguments])
    assert done.exit_code == 1
    assert "has no weights" in done.output
    assert not key.exists()
    nowhere = str(key / "out")
    done = CliRunner().invoke(inference, ["encrypt", str(tiny_folder), nowhere, "--new-key", str(key)])
    assert done.exit_code == 1
    assert not key.exists()
    assert CliRunner().invoke(inference, ["encrypt", str(tiny_folder), *arguments]).exit_code == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space")])
def test_encrypting_that_is_interrupted_leaves_nothing(tiny_folder, monkeypatch, tmp_path, error):
    def seal_one(_folder, out, _keys):
        out.mkdir()
        (out / "model.safetensors.sealed").write_bytes(b"half")
        raise error

    monkeypatch.setattr(sealing, "seal_folder", seal_one)
    arguments = ["encrypt", str(tiny_folder), str(tmp_path / "out"), "--new-key", str(tmp_path / "key")]
    assert CliRunner().invoke(inference, arguments).exit_code == 1
    assert list(tmp_path.iterdir()) == []
