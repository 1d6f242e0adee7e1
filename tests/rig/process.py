"""What every real server of the tests needs: a cache folder, an ordinary user, a wait, a clean stop.

A test finds a server by the environment variable with its URL if set; else the rig starts it; else, where the toolchain
is missing, the test skips with the reason, which under CI=true is a failure.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def cache_dir() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "attest-rig"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def unavailable(reason: str) -> None:
    """Skip, or under CI fail: a missing server must never look like a passed test there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")


def ordinary_user() -> dict[str, object]:
    """Keyword arguments for Popen that leave root (PostgreSQL and Elasticsearch refuse it)."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def ending_with_us() -> list[str]:
    """Begin a command so that it ends when this process is gone, killed without a chance to stop it."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


def give_to_ordinary_user(folder: Path) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def java21() -> Path:
    """JDK of at least 21: JAVA_HOME, or any under /usr/lib/jvm."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"), reverse=True) if Path("/usr/lib/jvm").is_dir() else []
    for home in homes:
        release = home / "release"
        if not release.is_file() or not (home / "bin" / "java").exists():
            continue
        version = next((x for x in release.read_text().splitlines() if x.startswith("JAVA_VERSION=")), "=0")
        if int(version.split("=")[1].strip('"').split(".")[0]) >= 21:
            return home
    unavailable("no JDK of version 21 or later")
    raise AssertionError


def wait_for(
    ready: Callable[[], bool],
    process: subprocess.Popen[bytes] | None,
    seconds: float,
    what: str,
    log: Path | None = None,
) -> None:
    """Return when `ready()` is true; fail the test, with the end of the log, when the process or the time ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            pytest.fail(f"{what} ended with {process.returncode} before it was ready{_end_of(log)}")
        with contextlib.suppress(OSError):
            if ready():
                return
        time.sleep(0.1)
    pytest.fail(f"{what} was not ready within {seconds:.0f} s{_end_of(log)}")


def _end_of(log: Path | None, characters: int = 3000) -> str:
    return f"; its log ends:\n{log.read_text(errors='replace')[-characters:]}" if log is not None else ""


def accepts(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def stop(process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    """End a process that was started with start_new_session=True, with its children."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
