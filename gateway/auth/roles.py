"""Claims → who the person is: name, groups, and roles from the groups by configuration."""

from collections.abc import Mapping
from typing import Any

from gateway.auth.principal import Principal, Role
from gateway.auth.tokens import TokenError
from gateway.settings import Settings

GROUP_LIMIT = 500
SUBJECT_LIMIT = 255
"""Characters (OIDC Core, section 2)."""
_NAME_LIMIT = 200


class RoleMap:
    """Where the groups stand in the claims, and which group gives which role."""

    def __init__(self, claim: str, roles: Mapping[str, str], subject_claim: str = "sub") -> None:
        self._claim = claim
        self.subject_claim = subject_claim
        self._roles = {bare(group): Role(role) for group, role in roles.items()}

    @classmethod
    def from_settings(cls, settings: Settings) -> "RoleMap":
        """Read `ATTEST_OIDC_GROUPS_CLAIM`, `ATTEST_OIDC_ROLES` and `ATTEST_OIDC_SUBJECT_CLAIM`."""
        return cls(settings.oidc_groups_claim, settings.oidc_roles, settings.oidc_subject_claim)

    def subject(self, claims: Mapping[str, Any]) -> str:
        """Return who verified claims are about. Raises `TokenError` where they do not say so usably."""
        subject = _at(claims, self.subject_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LIMIT or any(ord(c) < 32 for c in subject):  # noqa: PLR2004 - the control characters
            raise TokenError(f"claim_{self.subject_claim}")
        return subject

    def about(self, claims: Mapping[str, Any], subject: str) -> bool:
        """Whether claims are about this person."""
        try:
            return self.subject(claims) == subject
        except TokenError:
            return False

    def has_groups(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claims say anything about groups."""
        return _at(claims, self._claim) is not None

    def groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the groups as the provider names them."""
        found = _at(claims, self._claim)
        names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        return tuple(name for name in names if isinstance(name, str) and 0 < len(name) <= 255)[:GROUP_LIMIT]  # noqa: PLR2004

    def roles(self, groups: tuple[str, ...]) -> frozenset[Role]:
        """Return the roles; Keycloak's paths (`/staff`) count like the bare name."""
        return frozenset(self._roles[bare(group)] for group in groups if bare(group) in self._roles)

    def principal(self, claims: Mapping[str, Any], *, session: bool) -> Principal:
        """Return the person behind verified claims. Raises `TokenError`."""
        groups = self.groups(claims)
        return Principal(
            subject=self.subject(claims), name=_name(claims), groups=groups, roles=self.roles(groups), session=session
        )


def bare(group: str) -> str:
    """Return a group's name without the slash of Keycloak's paths."""
    return group.removeprefix("/")


def _at(claims: Mapping[str, Any], path: str) -> object:
    """Follow a dotted path; a claim whose own name has dots (`https://example.org/groups`) wins."""
    if path in claims:
        return claims[path]
    for split in (i for i, c in enumerate(path) if c == "."):
        inner = claims.get(path[:split])
        if isinstance(inner, Mapping) and (found := _at(inner, path[split + 1 :])) is not None:
            return found
    return None


def _name(claims: Mapping[str, Any]) -> str:
    for claim in ("name", "preferred_username", "email", "sub"):
        value = claims.get(claim)
        if isinstance(value, str) and (shown := "".join(c for c in value if c.isprintable()).strip()):
            return shown[:_NAME_LIMIT]
    return "?"
