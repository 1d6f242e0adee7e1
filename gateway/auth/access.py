"""Who may call a route, said at the route: `**open_to(Role.STAFF)` or `**PUBLIC`.

The authentication middleware asks `check_access` for every request, after it knows who asks and before the body is
read; a route that says nothing is closed to everybody. A test walks all routes, as nobody and as each role. (Litestar's
guards would do the same, but each copies its whole route handler for every request: 0.3 ms on the hot path.)
"""

from typing import Any, TypedDict

from litestar.types import Scope

from gateway.auth.principal import Principal, Role
from gateway.problems import ForbiddenError, UnauthenticatedError

ACCESS = "access"
RECORDED = "recorded"
"""Which refusals of a route become records, by their status."""
ANYONE = "public"
UNCHECKED = "attest_unchecked"
"""Key in the scope's state of an address that is open to anyone: the error for which nobody knows who asks."""


class Access(TypedDict):
    """Keyword arguments of a route handler that say who may call it."""

    opt: dict[str, Any]


def open_to(*roles: Role) -> Access:
    """Let in a principal who has any of these roles."""
    return Access(opt={ACCESS: tuple(role.value for role in roles)})


def recorded_for(*roles: Role) -> Access:
    """Let in a principal who has any of these roles; whatever the route refuses, to anybody, becomes a record."""
    return Access(opt={ACCESS: tuple(role.value for role in roles), RECORDED: range(400, 500)})


def own_only(*roles: Role) -> Access:
    """Let in a principal who has any of these roles, to what is their own: an id of anybody else's is not found.

    That it was asked for becomes a record. Nobody learns whether there is such a thing, not even by the time it takes.
    """
    return Access(opt={ACCESS: tuple(role.value for role in roles), RECORDED: (404,)})


PUBLIC = Access(opt={ACCESS: (ANYONE,)})
"""Anyone may call it, signed in or not."""
OWN_PAGE = Access(opt={ACCESS: (ANYONE,), RECORDED: (404,)})
"""A page that leads nobody to the sign-in and shows people what is their own, otherwise as `own_only`."""


def check_access(scope: Scope, principal: Principal | None) -> None:
    """Raise `UnauthenticatedError` or `ForbiddenError` unless the route is open to this principal."""
    roles: tuple[str, ...] = scope["route_handler"].opt.get(ACCESS, ())
    if ANYONE in roles:
        return
    if principal is None:
        raise UnauthenticatedError("Sign in first: this address needs a session or a bearer token.")
    if principal.roles.isdisjoint(Role(role) for role in roles):
        raise ForbiddenError("Your account may not do this: it needs one of the roles " + ", ".join(roles) + ".")
