"""Values that stand in an address or a cookie and that nobody else may read or make up, bound to one officer.

A text that is searched for must not stand in histories of browsers and in logs of proxies.
"""

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
LONGEST = 8000
"""Characters of a sealed value that are looked at."""


class Sealer:
    """AES-256-GCM under one key; whose it is and what it is for are authenticated with it."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes that only gateways have."""
        self._cipher = AESGCM(key)

    def seal(self, owner: str, purpose: str, text: str) -> str:
        """Return a text as letters, digits, `-` and `_`; an empty text stays empty."""
        if not text:
            return ""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), _about(owner, purpose))
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, owner: str, purpose: str, sealed: str) -> str:
        """Return the text; empty when it was altered, made up, another's, or for something else."""
        if not sealed or len(sealed) > LONGEST:
            return ""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            opened = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _about(owner, purpose))
        except (binascii.Error, ValueError, InvalidTag):
            return ""
        return opened.decode("utf-8", "surrogatepass")


def _about(owner: str, purpose: str) -> bytes:
    return f"{purpose}\0{owner}".encode("utf-8", "surrogatepass")
