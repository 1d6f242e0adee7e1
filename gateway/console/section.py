"""What one part of the console is: where it stands, what it is called, and whose it is."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.auth.principal import Principal, Role


class Group(StrEnum):
    """Heading under which a section stands in the navigation: message `console.group.<value>`."""

    WORK = "work"
    LOG = "log"
    ADMIN = "admin"


@dataclass(frozen=True)
class Section:
    """One entry of the navigation. Its first page is a GET of `path`, open to the same `roles`."""

    path: str
    title: str
    """Message key of its name, for instance `console.search.title`."""
    icon: str
    """Name of a shape in templates/partials/icons.html."""
    roles: tuple[Role, ...]
    group: Group

    def open_to(self, principal: Principal) -> bool:
        """Whether the person has any of the roles."""
        return principal.may(*self.roles)


@dataclass(frozen=True)
class Part:
    """A section and its route handlers: what each module of a section exports as `PART`."""

    section: Section
    routes: tuple[Any, ...]
