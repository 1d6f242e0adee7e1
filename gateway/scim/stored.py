"""Resources as values of the store."""

from typing import Any, Generic, TypeVar

import msgspec
from scim2_models import Resource

R = TypeVar("R", bound=Resource[Any])


class Stored(msgspec.Struct, Generic[R], frozen=True):
    """A resource, and what the database says of it; times are microseconds since 1970 UTC."""

    id: str
    resource: R
    version: int
    created_us: int
    changed_us: int
    members: tuple[str, ...] = ()
    """Ids of the users of a group, where they were asked for."""

    @property
    def etag(self) -> str:
        """Return the version as an entity tag (RFC 9110, section 8.8.3); weak, since only the meaning is the same."""
        return f'W/"{self.version}"'


class Found(msgspec.Struct, Generic[R], frozen=True):
    """One page of a list."""

    total: int
    start: int
    resources: tuple[Stored[R], ...]
