"""Who asks: the one value that authentication hands to everything behind it."""

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

    def may(self, *roles: Role) -> bool:
        """Whether the principal has any of these roles."""
        return not self.roles.isdisjoint(roles)
