"""Ports for servers that a test starts: never one that the kernel may give to somebody's outgoing connection.

A port that the kernel names (bind to 0) comes from the range of outgoing connections. Until the server that it is meant
for has read its modules and listens, seconds later, any connection on the machine may be given the same one.
"""

import itertools
import os
import socket
from pathlib import Path

_LOWEST, _LINUX_OUTGOING = 12_000, 32_768
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _below_outgoing() -> range:
    lowest_outgoing = int(_OUTGOING.read_text().split()[0]) if _OUTGOING.exists() else _LINUX_OUTGOING
    return range(_LOWEST, max(lowest_outgoing, _LOWEST + 4_096))


_RANGE = _below_outgoing()
_NEXT = itertools.count(os.getpid() * 64)
"""Each process begins elsewhere and never names a port twice before it has named all."""


def free_port(neighbours: int = 0) -> int:
    """Return a port nobody listens on; nor on the `neighbours` after it, which are not named to others either."""
    for at in _NEXT:
        ports = [_RANGE[at % len(_RANGE)]] + [_RANGE[next(_NEXT) % len(_RANGE)] for _ in range(neighbours)]
        if ports[-1] - ports[0] == neighbours and all(map(_is_free, ports)):
            return ports[0]
    raise AssertionError


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
