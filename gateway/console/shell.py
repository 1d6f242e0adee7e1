"""The frame of every console page: the section it belongs to, and what a form or an address asked for."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from litestar import Request
from litestar.response import Response

from audit.governing import moment
from gateway.console.marked import revealed
from gateway.console.names import Who
from gateway.console.section import Section
from gateway.console.words import Words
from gateway.web.pages import Pages

ConsoleRequest = Request[Any, Any, Any]


async def console_page(
    request: ConsoleRequest, pages: Pages, section: Section, template: str, *, status: int = 200, **context: object
) -> Response[str]:
    """Return a page of a section; `template` extends console/base.html, and `who(subject)` there names a person.

    Raises `TypeError` where `context` has the name of something that every page has: it would be missed on some.
    """
    view, who = pages.view(request), Who(pages.names)
    tools = {"at": moment, "revealed": revealed, "now": datetime.now(UTC), "say": Words(view.catalogue), "who": who}
    page = view.page(template, status=status, section=section, **tools, **context)
    if pages.names is None or not who.unknown:
        return page
    await pages.names.learn(who.unknown)
    return view.page(template, status=status, section=section, **tools, **context)


def address(path: str, values: Mapping[str, object], **changes: object) -> str:
    """Return a path with the values that are not empty as its query; `changes` replace some (empty: leave out)."""
    pairs = {name: str(value) for name, value in {**values, **changes}.items() if value not in ("", None)}
    return f"{path}?{urlencode(pairs)}" if pairs else path
