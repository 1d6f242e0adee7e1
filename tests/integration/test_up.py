"""`attest up` as a newcomer meets it: one line when ready, a clean end, one clear sentence when it cannot start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.rig.ports import free_port
from tests.rig.process import stop

ROOT = Path(__file__).parents[2]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ATTEST_", "OTEL_"))}
    return kept | {"ATTEST_DATA_DIR": str(folder / "data"), "OMP_NUM_THREADS": "1", **settings}


def failing(folder: Path, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "up"],
        env=environment(folder, **settings), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def test_a_taken_port_is_one_clear_sentence(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = failing(tmp_path, ATTEST_PORT=str(port))
    assert said.startswith(f"Port {port} (ATTEST_PORT) cannot be used")
    assert len(said.splitlines()) == 1


def test_every_wrong_setting_is_named_at_once(tmp_path: Path):
    said = failing(tmp_path, ATTEST_PORT="many", ATTEST_RATE_PER_MINUTE="0", ATTEST_ENV="staging")
    assert all(name in said for name in ("ATTEST_PORT", "ATTEST_RATE_PER_MINUTE", "ATTEST_ENV"))


def test_production_refuses_the_development_provider(tmp_path: Path):
    assert "ATTEST_OIDC_ISSUER" in failing(tmp_path, ATTEST_ENV="production")


def test_a_data_folder_that_is_a_file_is_one_clear_sentence(tmp_path: Path):
    (tmp_path / "data").write_text("")
    assert "ATTEST_DATA_DIR" in failing(tmp_path, ATTEST_PORT=str(free_port(neighbours=1)))


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    (tmp_path / "model").mkdir()
    said = failing(tmp_path, ATTEST_PORT=str(free_port(neighbours=1)), ATTEST_MODEL_DIR=str(tmp_path / "model"))
    assert "config.json" in said


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_it_starts_answers_in_both_languages_stops_and_goes_on(tmp_path: Path):
    port = free_port(neighbours=1)
    env = environment(tmp_path, ATTEST_PORT=str(port))
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "up"], env=env, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            assert f"http://127.0.0.1:{port}" in line
            assert all(name in line for name in ("alice", "carol", "sam", "ada"))
            ask = [sys.executable, "-m", "gateway", "dev-token", "alice"]
            token = subprocess.run(ask, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            assert any("a" <= letter <= "z" for letter in answer(port, token, "Hello! Who are you?").lower())
            assert any("\u4e00" <= letter <= "\u9fff" for letter in answer(port, token, "你好，你是谁？"))
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert time.monotonic() - began < 15
        finally:
            process.stdout.close()
            stop(process)
    listing = [sys.executable, "-m", "gateway", "audit", "list", "--json"]
    listed = json.loads(subprocess.run(listing, env=env, cwd=ROOT, capture_output=True, check=True).stdout)
    assert [turn["closing_kind"] for turn in listed] == ["turn.completed"] * 4


def answer(port: int, token: str, question: str) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=json.dumps({"messages": [{"role": "user", "content": question}], "temperature": 0}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        content: str = json.loads(response.read())["choices"][0]["message"]["content"]
    return content
