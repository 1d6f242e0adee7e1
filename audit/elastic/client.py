"""How Attest reaches Elasticsearch: addresses, trust, and one identity for each job."""

import ssl
from pathlib import Path
from typing import Any

import msgspec
from elasticsearch import AsyncElasticsearch

REQUEST_S = 60.0
"""Longest wait for an answer, in seconds."""
_KEY, _FILE = "apikey:", "file:"


class ElasticSettingsError(Exception):
    """An address, a certificate or an identity that cannot be used; the message says what to do and holds no secret."""


class Identity(msgspec.Struct, frozen=True):
    """How one job signs in: an API key, or a user and a password; neither: not at all."""

    api_key: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Identity(user={self.user!r})"

    @classmethod
    def read(cls, written: str, setting: str) -> "Identity":
        """Read `user:password`, `apikey:KEY`, or `file:PATH` of a file with one of these; `setting` is its name.

        Raises `ElasticSettingsError`.
        """
        if written.startswith(_FILE):
            path = Path(written.removeprefix(_FILE))
            try:
                written = path.read_text().strip()
            except (OSError, UnicodeDecodeError):
                raise ElasticSettingsError(f"{setting} names a file that cannot be read: {path}") from None
        if not written:
            return cls()
        if written.startswith(_KEY):
            return cls(api_key=written.removeprefix(_KEY))
        user, colon, password = written.partition(":")
        if not (user and colon and password):
            raise ElasticSettingsError(f"{setting} must read user:password, apikey:KEY or file:PATH")
        return cls(user=user, password=password)


class Server(msgspec.Struct, frozen=True):
    """Where Elasticsearch is, and whose certificates are trusted beside the system's."""

    urls: tuple[str, ...]
    ca_file: Path | None = None


def connect(server: Server, identity: Identity, request_s: float = REQUEST_S) -> AsyncElasticsearch:
    """Return a client that tries once: whoever uses it knows best when to try again. Close it in the end.

    Raises `ElasticSettingsError`.
    """
    options: dict[str, Any] = {}
    if identity.api_key:
        options["api_key"] = identity.api_key
    elif identity.user:
        options["basic_auth"] = (identity.user, identity.password)
    if server.ca_file is not None and any(url.startswith("https:") for url in server.urls):
        try:
            options["ssl_context"] = ssl.create_default_context(cafile=str(server.ca_file))
        except (OSError, ssl.SSLError):
            raise ElasticSettingsError(f"The CA file {server.ca_file} holds no certificate that can be read") from None
    try:
        return AsyncElasticsearch(
            [_with_port(url) for url in server.urls],
            request_timeout=request_s,
            max_retries=0,
            retry_on_timeout=False,
            meta_header=False,
            **options,
        )
    except ValueError:
        raise ElasticSettingsError("ATTEST_ELASTICSEARCH_URL must hold addresses like https://host:9200") from None


def _with_port(url: str) -> str:
    """Return the address with its port written out, which the client asks for."""
    scheme, _, rest = url.rstrip("/").partition("://")
    host = rest.partition("/")[0]
    if ":" in host.rpartition("]")[2]:
        return f"{scheme}://{rest}"
    return f"{scheme}://{host}:{443 if scheme == 'https' else 80}{rest[len(host) :]}"
