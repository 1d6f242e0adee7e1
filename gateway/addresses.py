"""Addresses with passwords in them, checked without a parser's words: those quote what they choked on."""

from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

_DRIVERS = frozenset({"postgresql+asyncpg", "sqlite+aiosqlite"})
_COMMON = ("postgresql://", "postgres://")
"""As PostgreSQL's own tools write it; there is one driver that it can mean."""
_REDIS = frozenset({"redis", "rediss", "unix"})
_ENCODE = "characters like / @ : in a password must be percent-encoded"


def with_driver(url: str) -> str:
    """Return a database address with the driver that this product has."""
    common = next((start for start in _COMMON if url.startswith(start)), "")
    return f"postgresql+asyncpg://{url.removeprefix(common)}" if common else url


def wrong_about_database(url: str) -> str:
    """Return what is wrong with a database address, or nothing."""
    said = f"ATTEST_DATABASE_URL is no postgresql+asyncpg:// or sqlite+aiosqlite:/// address; {_ENCODE}"
    try:
        return "" if not url or make_url(with_driver(url)).drivername in _DRIVERS else said
    except (ArgumentError, ValueError):
        return said


def wrong_about_redis(url: str) -> str:
    """Return what is wrong with an address of Redis, or nothing."""
    try:
        parts = urlsplit(url)
        sound = not url or (parts.scheme in _REDIS and (parts.port or 1) > 0)
    except ValueError:
        sound = False
    return "" if sound else f"ATTEST_REDIS_URL is no redis:// or rediss:// address; {_ENCODE}"
