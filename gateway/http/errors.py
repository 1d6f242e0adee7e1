"""Errors on their way out: RFC 9457 problem details everywhere, OpenAI's shape under `/v1`. Never a quoted request."""

import structlog
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from gateway.problems import (
    AttestError,
    BadRequestError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedMediaError,
    openai_error,
    problem,
)

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


def respond(request: Request, error: AttestError) -> Response[object]:  # type: ignore[type-arg]
    """Return the response for one of our errors."""
    headers = {"cache-control": "no-store"}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == UnauthenticatedError.status:
        headers["www-authenticate"] = "Bearer"
    if request.url.path.startswith("/v1/"):
        return Response(openai_error(error), status_code=error.status, headers=headers, media_type=MediaType.JSON)
    return Response(problem(error), status_code=error.status, headers=headers, media_type="application/problem+json")


def on_attest_error(request: Request, error: AttestError) -> Response[object]:  # type: ignore[type-arg]
    """Map one of our own errors."""
    return respond(request, error)


def on_http_exception(request: Request, error: HTTPException) -> Response[object]:  # type: ignore[type-arg]
    """Map an error of the framework: its status stays, its text (which may quote input) does not."""
    kind = _BY_STATUS.get(error.status_code)
    if kind is None:
        kind = BadRequestError if error.status_code < 500 else AttestError  # noqa: PLR2004 - HTTP's own border
    detail = ""
    if isinstance(error, ValidationException):
        detail = _fields(error)
    return respond(request, kind(detail))


def on_any_exception(request: Request, error: Exception) -> Response[object]:  # type: ignore[type-arg]
    """Map what nobody foresaw: logged by its type and place, never by its message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else ""
    structlog.get_logger("attest.http").error("request.failed", error=type(error).__name__, where=where)
    return respond(request, AttestError())


def _fields(error: ValidationException) -> str:
    """Name the fields that are wrong, and nothing of their values."""
    extra = error.extra if isinstance(error.extra, list) else []
    names = [str(item.get("key", "")) for item in extra if isinstance(item, dict)]
    return "Wrong or missing: " + ", ".join(name for name in names if name) if any(names) else ""
