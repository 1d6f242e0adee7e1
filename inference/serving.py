"""The server's process: its port, its event loop, its end."""

import asyncio
import contextlib
import importlib
import importlib.util
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import click
import uvicorn

from inference.engines import Engines
from inference.server import create_app

LOG = logging.getLogger("attest.inference")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where it is installed: an event costs half as much there."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    return factory


def bind(host: str, port: int) -> socket.socket:
    """Take the port before the weights are opened, which may last minutes; nobody is let in until they are."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. The event loop sets it only on sockets that it has made itself, and without
        # it the end of each streamed answer waits 40 ms for an acknowledgement.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise click.ClickException(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
    return bound


class _Server(uvicorn.Server):
    """Ends with 0 after a signal; uvicorn would end by the signal itself, which looks like a crash."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Turn SIGTERM and SIGINT into the wish to exit."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def serve(engines: Engines, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; running streams get a second to end. Raises `ModelFolderError`."""
    host, port = listening.getsockname()[:2]
    await engines.start()
    config = uvicorn.Config(
        create_app(engines, started=True),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config)
    for engine in engines.running():
        info = engine.info
        LOG.info("serving", extra={"model": info.name, "revision": info.revision, "host": host, "port": port})
    await server.serve(sockets=[listening])
    if not server.started:
        sys.exit(1)
