"""Addresses with passwords in them, checked without a parser's words: those quote what they choked on."""

import re
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS = frozenset({"postgresql+asyncpg", "sqlite+aiosqlite", "sqlite"})
_COMMON = ("postgresql://", "postgres://")
"""As PostgreSQL's own tools write it; there is one driver that it can mean."""
_BEFORE_HOST = re.compile(r"[\w+]+://(?:[^:/]*(?::[^@]*)?@)?")
"""Driver, name and password, parted from the host as SQLAlchemy does."""
_REDIS = frozenset({"redis", "rediss", "unix"})
_ENCODE = "characters like / @ : in a password must be percent-encoded"


def with_driver(url: str) -> str:
    """Return a database address with the driver that this product has."""
    common = next((start for start in _COMMON if url.startswith(start)), "")
    return f"postgresql+asyncpg://{url.removeprefix(common)}" if common else url


def wrong_about_database(url: str) -> str:
    """Return what is wrong with a database address, or nothing."""
    said = f"ATTEST_DATABASE_URL is no postgresql+asyncpg:// or sqlite+aiosqlite:/// address; {_ENCODE}"
    if not url:
        return ""
    try:
        parsed = make_url(with_driver(url))
    except (ArgumentError, ValueError):
        return said
    if parsed.drivername not in _DRIVERS:
        return said
    if parsed.get_backend_name() == "sqlite":
        return ""
    if "sslmode" in parsed.query:
        return "ATTEST_DATABASE_URL: write ssl=… for sslmode=…, as the driver calls it"
    # After an @ that is not encoded the rest of the password counts as host, name or option, which errors quote.
    # Options are looked at as they were written: what has no = is left out of what was parsed.
    options = _BEFORE_HOST.sub("", with_driver(url), count=1).partition("?")[2]
    return said if "@" in f"{parsed.host}{parsed.database}{options}" else ""


def wrong_about_redis(url: str) -> str:
    """Return what is wrong with an address of Redis, or nothing."""
    try:
        parts = urlsplit(url)
        sound = not url or (parts.scheme in _REDIS and (parts.port or 1) > 0)
    except ValueError:
        sound = False
    else:
        # After a / ? or # that is not encoded the rest of the password, with its @, counts as database or option.
        path = "" if parts.scheme == "unix" else parts.path
        sound = sound and "@" not in f"{path}{parts.query}{parts.fragment}"
    return "" if sound else f"ATTEST_REDIS_URL is no redis:// or rediss:// address; {_ENCODE}"
