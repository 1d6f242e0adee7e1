"""No address with a NUL goes on: no id and no filter holds one, and PostgreSQL would answer it with a fault."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.auth.access import ACCESS, ANYONE
from gateway.problems import BadRequestError, NotFoundError

_NUL = "\x00"
_ESCAPED = b"%00"


class PlainAddress(ASGIMiddleware):
    """Refuses: in the path there is nothing of that name; a query of a route that is not for anyone cannot be read."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a plain address on. Raises `NotFoundError`, `BadRequestError`."""
        if _NUL in scope["path"]:
            raise NotFoundError("There is nothing at this address.")
        if _ESCAPED in scope["query_string"] and ANYONE not in scope["route_handler"].opt.get(ACCESS, ()):
            raise BadRequestError("The address holds a NUL character; remove it.")
        await next_app(scope, receive, send)
