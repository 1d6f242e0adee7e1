"""Who asks: the one value that authentication hands to everything behind it."""

import hashlib
from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What a person may do, from the provider's groups by configuration."""

    STAFF = "staff"
    """May chat and see their own conversations."""
    COMPLIANCE = "compliance"
    """May search, read, hold and export the audit log, content included."""
    SECURITY = "security"
    """May review metadata, never content."""
    ADMIN = "admin"
    """May run the installation."""
    PROVISIONING = "provisioning"
    """May say who is there (SCIM), and nothing else: a key of the directory's, never a person's role."""


OF_PEOPLE = tuple(role for role in Role if role is not Role.PROVISIONING)
"""The roles that people have, and programs that act like people."""


class Credential(msgspec.Struct, frozen=True):
    """What a principal was recognised by, and how it is found again; nothing that could be used to sign in."""

    kind: str = ""
    """`session`, `token` or `key`."""
    id: str = ""
    """SHA-256 of the session's id or of the token, in hex; the id of a service account's key."""
    issued_at: int = 0
    """When it was given out, in whole seconds of Unix time."""
    provider_session: str = ""
    """The provider's session behind it (`sid`), where the provider says so."""


class Principal(msgspec.Struct, frozen=True):
    """The person (or service) behind a request. Groups are as the provider named them; roles follow from them."""

    subject: str
    """The provider's stable `sub`."""
    name: str
    """Name to show."""
    groups: tuple[str, ...]
    roles: frozenset[Role]
    session: bool = False
    """Signed in by browser session; otherwise by bearer token."""
    credential: Credential = Credential()
    """What the principal was recognised by."""
    models: tuple[str, ...] = ()
    """Models that a service account may ask; empty: every one."""

    @property
    def digest(self) -> str:
        """What tells this person from others within one browser: 16 hex digits that do not say who it is."""
        return hashlib.sha256(self.subject.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def may(self, *roles: Role) -> bool:
        """Whether the principal has any of these roles."""
        return not self.roles.isdisjoint(roles)

    def may_ask(self, model: str) -> bool:
        """Whether the principal may ask this model."""
        return not self.models or model in self.models
