"""No path with a NUL goes on: no id holds one, and PostgreSQL would answer it with a fault."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.problems import NotFoundError

_NUL = "\x00"


class PlainAddress(ASGIMiddleware):
    """Refuses it: there is nothing of that name. What a query holds is for each route to say."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a plain path on. Raises `NotFoundError`."""
        if _NUL in scope["path"]:
            raise NotFoundError("There is nothing at this address.")
        await next_app(scope, receive, send)
