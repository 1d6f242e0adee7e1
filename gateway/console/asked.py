"""What a console page was asked for: as the API's parameters, and times as a browser's form writes them."""

import re
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.console.shell import ConsoleRequest
from gateway.http.audit_query import Asked, Described, moment_of
from gateway.problems import BadRequestError

_LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")


class PageAsked(Asked):
    """The parameters of one page: each known, each given once; times without a zone are in the person's own."""

    def __init__(self, request: ConsoleRequest, operation: type[Described], zone: ZoneInfo) -> None:
        """Raise `BadRequestError` for others."""
        super().__init__(request, operation)
        self._zone = zone

    def moment(self, name: str) -> datetime | None:
        """Return a time in UTC."""
        return local_moment(name, self.text(name), self._zone)

    def texts(self, *names: str) -> dict[str, str]:
        """Return some parameters as they are."""
        return {name: self.text(name) for name in names}


def local_moment(name: str, text: str, zone: ZoneInfo) -> datetime | None:
    """Return a time in UTC; None for an empty text. Raises `BadRequestError`."""
    if not _LOCAL.fullmatch(text):
        return moment_of(name, text)
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequestError(f"{name}: is no time.") from None
    return moment_of(name, local.replace(tzinfo=zone).isoformat())


def local_text(at: datetime | None, zone: ZoneInfo) -> str:
    """Return a time as a `datetime-local` field has it."""
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M") if at else ""


def given(values: Mapping[str, str]) -> dict[str, str]:
    """Return the values that are not empty."""
    return {name: value for name, value in values.items() if value}
