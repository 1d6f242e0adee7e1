"""`attest up`: the inference tier and the gateway, each a process of its own, started together and stopped together."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import click

from gateway.settings import LOOPBACK, Settings, SettingsError, load

READY_S = 120.0
STOP_S = 10.0
DISK_BYTES = 200 * 2**20


class StartError(Exception):
    """One clear sentence on why Attest did not start."""


@click.command()
def up() -> None:
    """Start the inference tier and the gateway, and stop both on Ctrl-C."""
    try:
        code = asyncio.run(_up(load()))
    except (SettingsError, StartError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    sys.exit(code)


async def _up(settings: Settings) -> int:
    _check_folder(settings.data_dir)
    _check_port(settings.host, settings.port, "ATTEST_PORT")
    logs = settings.data_dir / "logs"
    logs.mkdir(exist_ok=True)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stopping.set)
    processes: list[asyncio.subprocess.Process] = []
    try:
        if settings.inference_url is None:
            _check_port("127.0.0.1", settings.port + 1, "ATTEST_PORT + 1, for the inference tier,")
            inference = ["inference", "--port", str(settings.port + 1)]
            processes.append(await _start(inference, logs / "inference.log"))
        processes.append(await _start(["serve"], logs / "gateway.log"))
        await _ready(f"http://{_local(settings.host)}:{settings.port}/health/ready", processes, stopping, logs)
        if not stopping.is_set():
            click.echo(_welcome(settings))
        return await _watch(processes, stopping, logs)
    finally:
        for process in reversed(processes):
            await _stop(process)


async def _start(arguments: list[str], log: Path) -> asyncio.subprocess.Process:
    with log.open("ab") as out:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the others in order.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, stdout=out, stderr=out, start_new_session=True
        )


async def _ready(url: str, processes: list[asyncio.subprocess.Process], stopping: asyncio.Event, logs: Path) -> None:
    deadline = asyncio.get_running_loop().time() + READY_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        while not stopping.is_set():
            _raise_if_ended(processes, logs)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(url) as answer:
                    if answer.ok:
                        return
            if asyncio.get_running_loop().time() > deadline:
                raise StartError(f"Attest was not ready within {READY_S:.0f} s; the files in {logs} say why.")
            await asyncio.sleep(0.1)


async def _watch(processes: list[asyncio.subprocess.Process], stopping: asyncio.Event, logs: Path) -> int:
    waiting = [asyncio.ensure_future(process.wait()) for process in processes]
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([*waiting, stop], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        _raise_if_ended(processes, logs)
    stop.cancel()
    return 0


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _raise_if_ended(processes: list[asyncio.subprocess.Process], logs: Path) -> None:
    for process in processes:
        if process.returncode is not None:
            raise StartError(f"A part of Attest ended by itself ({process.returncode}). {_last_lines(logs)}")


def _last_lines(logs: Path) -> str:
    newest = max(logs.glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return ""
    lines = newest.read_text(errors="replace").splitlines()[-5:]
    return f"The end of {newest}:\n" + "\n".join(lines)


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartError(
            f"The data folder {folder} cannot be written ({error.strerror}); set ATTEST_DATA_DIR."
        ) from None
    if shutil.disk_usage(folder).free < DISK_BYTES:
        raise StartError(f"Less than 200 MB are free in {folder}; free some, or set ATTEST_DATA_DIR to another disk.")


def _check_port(host: str, port: int, name: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"Port {port} ({name}) cannot be used: {error.strerror}. Set ATTEST_PORT to a free one."
            ) from None


def _local(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _welcome(settings: Settings) -> str:
    people = ""
    if settings.uses_development_provider and settings.host in LOOPBACK:
        people = " — sign in as alice (staff), carol (compliance), sam (security) or ada (admin)"
    return f"Attest is ready: {settings.base_url}{people}. Ctrl-C stops it."
