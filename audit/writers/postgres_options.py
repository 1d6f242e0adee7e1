"""With what the writer's own connections to PostgreSQL are opened, so that each side notices the other's end."""

from collections.abc import Mapping
from typing import Any

CONNECT_S = 10.0
"""How long the server may take to answer a new connection."""
_OF_CONNECTIONS = frozenset(
    (
        *("dsn", "host", "port", "user", "password", "passfile", "database", "timeout", "ssl", "direct_tls"),
        *("command_timeout", "server_settings", "target_session_attrs", "krbsrvname", "gsslib"),
    )
)
"""What of a database URL concerns the connection itself; SQLAlchemy's own options are left out."""
_KEEPALIVE = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
"""A writer whose host vanished loses its place after a minute, not two hours: until then its turns stay open."""


def in_time(options: Mapping[str, Any], command_s: float) -> dict[str, Any]:
    """Return the options of `asyncpg.connect` for a connection that waits for no server without end."""
    given = {name: value for name, value in options.items() if name in _OF_CONNECTIONS}
    return {"timeout": CONNECT_S, "command_timeout": command_s, **given}


def of_writer(options: Mapping[str, Any], lock_wait_s: float) -> dict[str, Any]:
    """Return the same for the connection that writes."""
    settings = {
        "application_name": "attest-audit",
        **_KEEPALIVE,
        **options.get("server_settings", {}),
        "lock_timeout": str(int(lock_wait_s * 1000)),
    }
    return {**options, "server_settings": settings}
