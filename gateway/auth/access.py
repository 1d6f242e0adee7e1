"""Who may call a route, said at the route: `**open_to(Role.STAFF)` or `**PUBLIC`.

A test walks every route of the application: one that says nothing fails it, and each is called as nobody and as each
role. Litestar guards run after authentication and before the body is read.
"""

from typing import Any, TypedDict

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from gateway.auth.principal import Principal, Role
from gateway.problems import ForbiddenError, UnauthenticatedError

ACCESS = "access"


class Access(TypedDict):
    """Keyword arguments of a route handler that say who may call it."""

    opt: dict[str, Any]
    guards: list[Guard]


def open_to(*roles: Role) -> Access:
    """Let in a principal who has any of these roles."""
    return Access(opt={ACCESS: tuple(role.value for role in roles)}, guards=[_has_role])


def _has_role(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    principal: Principal | None = connection.scope.get("user")
    if principal is None:
        raise UnauthenticatedError("Sign in first: this address needs a session or a bearer token.")
    roles = handler.opt[ACCESS]
    if principal.roles.isdisjoint(Role(role) for role in roles):
        raise ForbiddenError("Your account may not do this: it needs one of the roles " + ", ".join(roles) + ".")


def _anyone(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Nothing to check: the route says so on purpose."""


PUBLIC = Access(opt={ACCESS: ("public",)}, guards=[_anyone])
"""Anyone may call it, signed in or not."""
