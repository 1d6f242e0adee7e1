"""`/console`: leads to the first section that is open to the person."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.response import Redirect

from gateway.auth.access import open_to
from gateway.auth.principal import Role
from gateway.problems import NotFoundError
from gateway.web.pages import Pages


@get("/console", **open_to(Role.COMPLIANCE, Role.SECURITY, Role.ADMIN), include_in_schema=False)
async def console_start(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Redirect:
    """Lead on."""
    sections = pages.view(request).sections
    if not sections:
        raise NotFoundError("No section of the console is open to you.")
    return Redirect(sections[0].path)
