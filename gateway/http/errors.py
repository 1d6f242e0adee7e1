"""Errors on their way out: RFC 9457 problem details, a page for browsers that want one.

Under `/v1` and `/scim/v2` they have the shape of these protocols.
"""

import re
from typing import Any

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Redirect

from gateway.database import unreachable
from gateway.problem_documents import openai_error, problem, scim_error
from gateway.problems import (
    AttestError,
    BadRequestError,
    DatabaseUnavailableError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedMediaError,
)
from gateway.telemetry import Telemetry
from gateway.web.pages import Pages, place_of

PROBLEM_JSON = "application/problem+json"
SCIM_JSON = "application/scim+json"
NOT_OFFERED = frozenset(
    {
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "logit_bias", "top_logprobs"),
        *("modalities", "audio", "prediction", "reasoning_effort", "service_tier", "store", "metadata", "top_k"),
        *("web_search_options", "verbosity", "prompt_cache_key", "safety_identifier", "tool_call_id", "tool_calls"),
    }
)
"""Fields that clients know from elsewhere."""
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
REFUSED_AS = "attest_refused_as"
"""Key in the scope's state: the code of the error that is answered."""
_BY_STATUS: dict[int, type[AttestError]] = {
    kind.status: kind
    for kind in (
        BadRequestError,
        UnauthenticatedError,
        ForbiddenError,
        NotFoundError,
        MethodNotAllowedError,
        TooLargeError,
        UnsupportedMediaError,
    )
}


AnyRequest = Request[Any, Any, Any]


def respond(request: AnyRequest, error: AttestError) -> Response[Any]:
    """Return the response for one of our errors, in the shape that the client reads."""
    headers = {"cache-control": "no-store"}
    request.scope["state"][REFUSED_AS] = error.code  # for whoever records refusals
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == UnauthenticatedError.status:
        # RFC 6750, section 3: a request without any token gets no error code.
        headers["www-authenticate"] = 'Bearer error="invalid_token"' if "authorization" in request.headers else "Bearer"
    if request.url.path.startswith("/v1/"):
        return Response(openai_error(error), status_code=error.status, headers=headers, media_type=MediaType.JSON)
    if request.url.path == "/scim/v2" or request.url.path.startswith("/scim/v2/"):
        return Response(scim_error(error), status_code=error.status, headers=headers, media_type=SCIM_JSON)
    pages: Pages | None = request.app.state.get("pages")
    if pages is not None and request.headers.get("accept", "").startswith("text/html"):
        if request.method == "GET" and error.status == UnauthenticatedError.status and _is_console(request):
            return Redirect("/auth/login", status_code=303, query_params={"next": place_of(request)})
        if request.method == "GET" or _is_console(request):
            return pages.problem(request, error)
    return Response(problem(error), status_code=error.status, headers=headers, media_type=PROBLEM_JSON)


def on_attest_error(request: AnyRequest, error: AttestError) -> Response[Any]:
    """Map one of our own errors."""
    return respond(request, error)


def on_http_exception(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Map an error of the framework: its status stays, its text (which may quote input) does not."""
    kind = _BY_STATUS.get(error.status_code)
    if kind is None:
        kind = BadRequestError if error.status_code < 500 else AttestError  # noqa: PLR2004 - HTTP's own border
    detail = _fields(error) if isinstance(error, ValidationException) else ""
    return respond(request, kind(detail))


def on_invalid_utf8(request: AnyRequest, error: UnicodeDecodeError) -> Response[Any]:
    """Map a body that is not UTF-8: the framework's decoder lets this error through as it is."""
    del error
    return respond(request, BadRequestError("The body is not valid UTF-8."))


def on_recursion(request: AnyRequest, error: RecursionError) -> Response[Any]:
    """Map a body that is nested too deeply to be read: the framework's decoder lets this error through, too."""
    if "deserializing" not in str(error):
        return on_any_exception(request, error)
    return respond(request, BadRequestError("The body is nested too deeply."))


def on_any_exception(request: AnyRequest, error: Exception) -> Response[Any]:
    """Map a database that is gone, and what nobody foresaw: that is counted and logged by its type and place alone."""
    if unreachable(error):
        structlog.get_logger("attest.http").error("database.unreachable", error=type(error).__name__)
        return respond(request, DatabaseUnavailableError(retry_after=5))
    telemetry: Telemetry = request.app.state["telemetry"]
    telemetry.fault("http", error)
    return respond(request, AttestError())


def _fields(error: ValidationException) -> str:
    """Name the fields that are wrong, and nothing of their values."""
    extra = error.extra if isinstance(error.extra, list) else []
    names = [_named(str(item.get("key", "")), str(item.get("message", ""))) for item in extra if isinstance(item, dict)]
    return "Wrong or missing: " + ", ".join(name for name in names if name) if any(names) else ""


def _named(key: str, message: str) -> str:
    """Say which field; one that is not known only by a name of ours, since anything may stand there."""
    where = "" if key == "data" else key  # the handler's parameter: the whole body
    if (unknown := _UNKNOWN.search(message)) is None:
        return where or ("the body" if key else "")
    field = f"{unknown[1]} (not offered)" if unknown[1] in NOT_OFFERED else "an unknown field"
    return f"{field} in {where}" if where else field


def _is_console(request: AnyRequest) -> bool:
    return request.url.path == "/console" or request.url.path.startswith("/console/")
