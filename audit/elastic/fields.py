"""Values as Elasticsearch's fields take them."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from audit.canonical import column


def timestamp(at: datetime) -> str:
    """Return a time as documents hold it: RFC 3339 in UTC, microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def ip_of(address: str) -> str:
    """Return an address that the server's type `ip` takes; nothing where it is none."""
    if not address:
        return ""
    try:
        return str(ipaddress.ip_address(address)) if "%" not in address else ""
    except ValueError:
        return ""


def writable(text: str) -> str:
    """Return a text that UTF-8 can hold: itself, or a copy in which lone surrogates are the replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def flattened(values: dict[str, str | int | float | bool]) -> dict[str, str]:
    """Return small values as the server's type `flattened` keeps them anyway: as words."""
    return {column(name).replace(".", "_") or "_": column(_word(value)) for name, value in values.items()}


def _word(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def column_of(value: str) -> str:
    """Return a text as columns hold it; an empty one stays empty."""
    return column(value) if value else ""


def columns_of(values: Sequence[str]) -> list[str]:
    """Return texts as columns hold them, each once, without empty ones."""
    if not values:
        return []
    found = [column(value) for value in values if value]
    return list(dict.fromkeys(found)) if len(found) > 1 else found


def only(name: str, value: str) -> dict[str, str]:
    """Return an object of one text as columns hold it; an empty one where that is empty."""
    return {name: column(value)} if value else {}


def filled(**fields: Any) -> dict[str, Any]:
    """Return the fields that say something: empty texts, lists, objects and zeros are left out."""
    return {name: value for name, value in fields.items() if value or value is False}
