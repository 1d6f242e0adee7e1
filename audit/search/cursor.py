"""Where an answer in pages stopped, written so that a client can hand it back and nobody can make one up. Pure."""

import base64
import binascii
import hmac

import msgspec

from audit.search.ports import Position
from audit.search.query import QueryError

LONGEST = 1000
"""Characters of a cursor."""
_MAC_BYTES = 16
_VERSION = b"attest/search-cursor/v1"


class Cursors:
    """Writes and reads cursors. Every process that is to understand them needs the same key."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes that only the gateway has."""
        self._key = key

    def write(self, fingerprint: bytes, position: Position) -> str:
        """Return a cursor for the query with this fingerprint: base64url of the position and its HMAC-SHA-256."""
        data = msgspec.json.encode(position)
        return base64.urlsafe_b64encode(self._mac(fingerprint, data) + data).rstrip(b"=").decode()

    def read(self, fingerprint: bytes, cursor: str) -> Position:
        """Return the position. Raises `QueryError` for one that was altered, made up, or given for another query."""
        wrong = QueryError("cursor", "is none that was given for this query; start again without it")
        if len(cursor) > LONGEST:
            raise wrong
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise wrong from None
        mac, data = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        whole = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == cursor
        if not whole or not hmac.compare_digest(mac, self._mac(fingerprint, data)):
            raise wrong
        return msgspec.json.decode(data, type=Position)

    def _mac(self, fingerprint: bytes, data: bytes) -> bytes:
        return hmac.digest(self._key, _VERSION + fingerprint + data, "sha256")[:_MAC_BYTES]
