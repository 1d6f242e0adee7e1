"""Values kept in the database that open only with a secret that the database does not hold."""

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = 32
_NONCE_BYTES = 12


def new_secret() -> str:
    """Return 256 random bits as URL-safe text (43 characters)."""
    return secrets.token_urlsafe(SECRET_BYTES)


def looks_like_secret(value: str) -> bool:
    """Whether a cookie's value can be one of ours, so that anything else costs no database query."""
    return len(value) == 43 and value.isascii() and value.replace("-", "a").replace("_", "a").isalnum()  # noqa: PLR2004 - 32 bytes in base64url


def fingerprint(secret: str) -> str:
    """Return the SHA-256 of a secret, in hex: what the database may hold."""
    return hashlib.sha256(secret.encode()).hexdigest()


def seal(secret: str, purpose: bytes, plain: bytes, bound_to: str) -> bytes:
    """Encrypt (AES-256-GCM) under a key derived (HKDF, RFC 5869) from the secret, bound to the row's own key."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key(secret, purpose)).encrypt(nonce, plain, bound_to.encode())


def unseal(secret: str, purpose: bytes, sealed: bytes, bound_to: str) -> bytes | None:
    """Return the plain value, or None when the secret is another one or a bit was changed."""
    try:
        return AESGCM(_key(secret, purpose)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to.encode())
    except (InvalidTag, ValueError):
        return None


def _key(secret: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"attest " + purpose).derive(secret.encode())
