"""One service account's key: what is known of it, and how it is written."""

import hmac
import re
import secrets
from typing import Any

import msgspec
import sqlalchemy as sa

from audit.approval import SERVICE
from gateway.auth.principal import Credential, Principal, Role
from gateway.auth.sealing import fingerprint

PREFIX = "attest_"
"""Every key begins with it, so that scanners for leaked secrets find one."""
_FORM = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    key_id: str
    name: str
    roles: tuple[Role, ...]
    models: tuple[str, ...]
    """Models that it may ask; empty: all."""
    created_at: int
    created_by: str
    issued_at: int
    """When the secret in use was made."""
    expires_at: int
    revoked_at: int | None
    last_used_at: int | None
    previous_until: int
    """Until then the secret before the last rotation counts, too; 0: there is none."""

    @property
    def subject(self) -> str:
        """Whose records its turns are."""
        return f"{SERVICE}{self.key_id}"

    def state(self, now: int) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if now < self.expires_at else "expired"

    def principal(self) -> Principal:
        """Return the service account."""
        return Principal(
            subject=self.subject,
            name=self.name,
            groups=(),
            roles=frozenset(self.roles),
            credential=Credential("key", self.key_id, self.issued_at),
            models=self.models,
        )


class Stored(msgspec.Struct, frozen=True):
    """A key with what its secrets are checked by."""

    key: ApiKey
    secret_hash: str
    previous_hash: str

    def opens(self, secret: str, now: int) -> bool:
        """Whether the secret is the key's, in constant time."""
        given = fingerprint(secret)
        current = hmac.compare_digest(given, self.secret_hash)
        previous = hmac.compare_digest(given, self.previous_hash) and now < self.key.previous_until
        return current or previous


def stored(row: sa.Row[Any]) -> Stored:
    """Return a row of the table as a value."""
    fields = {name: getattr(row, name) for name in ApiKey.__struct_fields__ if name not in ("roles", "models")}
    key = ApiKey(
        roles=msgspec.json.decode(row.roles, type=tuple[Role, ...]),
        models=msgspec.json.decode(row.models, type=tuple[str, ...]),
        **fields,
    )
    return Stored(key, row.secret_hash, row.previous_hash)


def new_key_id() -> str:
    """Return a random id."""
    return secrets.token_hex(6)


def written(key_id: str, secret: str) -> str:
    """Return a key as its owner sends it."""
    return f"{PREFIX}{key_id}_{secret}"


def parsed(token: str) -> tuple[str, str] | None:
    """Return id and secret of what may be a key."""
    found = _FORM.fullmatch(token)
    return (found[1], found[2]) if found else None
