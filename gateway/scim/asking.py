"""What a provisioning client sends, read within bounds."""

import re
from typing import Any, TypeVar

import msgspec
from litestar import Request
from scim2_models import (
    InvalidFilterException,
    InvalidSyntaxException,
    InvalidValueException,
    Resource,
    ResponseParameters,
)

from gateway.http.errors import SCIM_JSON
from gateway.problems import UnsupportedMediaError
from gateway.scim.resources import MOST_RESULTS, POLICY

_MEDIA_TYPES = (SCIM_JSON, "application/json")
_DEEPEST = 12
"""Levels of a body."""
_LONGEST_NAMES = 2000
"""Characters of `attributes` and `excludedAttributes`."""
_DEFAULT_COUNT = 100
_LAST_START = 2**31 - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_ETAG = re.compile(r'\s*(?:(\*)|(?:W/)?("[!#-~\x80-\xff]*"))\s*')

ScimRequest = Request[Any, Any, Any]
R = TypeVar("R", bound=Resource[Any])


class Page(msgspec.Struct, frozen=True):
    """Which resources of a list are wanted."""

    filter: str
    start: int
    count: int


async def json_body(request: ScimRequest) -> dict[str, Any]:
    """Return the object that the body is. Raises `InvalidSyntaxException`, `UnsupportedMediaError`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise UnsupportedMediaError(f"Send {SCIM_JSON}.")
    try:
        body = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidSyntaxException(detail="The body is not JSON.") from None
    if not isinstance(body, dict):
        raise InvalidSyntaxException(detail="The body must be a JSON object.")
    _check_texts(body)
    return body


def page(request: ScimRequest) -> Page:
    """Return what `filter`, `startIndex` and `count` say. Raises `SCIMException`."""
    start, count = _integer(request, "startIndex", 1), _integer(request, "count", _DEFAULT_COUNT)
    text = request.query_params.get("filter", "")
    if "\0" in text:
        raise InvalidFilterException
    return Page(text, min(max(start, 1), _LAST_START), min(max(count, 0), MOST_RESULTS))


def wanted_attributes(request: ScimRequest, model: type[R]) -> ResponseParameters[R]:
    """Return what `attributes` and `excludedAttributes` say. Raises `SCIMException`, `pydantic.ValidationError`."""
    given = {
        name: value for name in ("attributes", "excludedAttributes") if (value := request.query_params.get(name, ""))
    }
    if any(len(value) > _LONGEST_NAMES for value in given.values()):
        raise InvalidValueException(detail=f"attributes: at most {_LONGEST_NAMES} characters.")
    of_model: Any = ResponseParameters.__class_getitem__(model)
    parameters: ResponseParameters[R] = of_model.model_validate(given, scim_policy=POLICY)
    return parameters


def if_match(request: ScimRequest) -> tuple[str, ...] | None:
    """Return the entity tags of `If-Match`, without their marks of weakness; None: there is no such header."""
    return _etags(request.headers.get("if-match"))


def has_it_already(request: ScimRequest, etag: str) -> bool:
    """Whether `If-None-Match` names the version that would be sent."""
    tags = _etags(request.headers.get("if-none-match")) or ()
    return "*" in tags or etag.removeprefix("W/") in tags


def _etags(header: str | None) -> tuple[str, ...] | None:
    if header is None:
        return None
    found = [_ETAG.fullmatch(each) for each in header[:1000].split(",")]
    return tuple(each[1] or each[2] for each in found if each)


def _integer(request: ScimRequest, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        raise InvalidValueException(detail=f"{name}: must be an integer.")
    return int(text)


def _check_texts(body: dict[str, Any]) -> None:
    """Refuse what no database and no record can hold: the null character, lone surrogates, endless nesting."""
    level: list[Any] = [body]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
                raise InvalidValueException(detail="A text has a character that cannot be kept.")
        if not inner:
            return
        level = inner
    raise InvalidSyntaxException(detail=f"The body is nested deeper than {_DEEPEST} levels.")


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)
