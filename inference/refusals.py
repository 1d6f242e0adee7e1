"""Errors in OpenAI's shape. Nothing of a request is quoted."""

import msgspec
from litestar import MediaType, Response

from inference import wire
from inference.errors import QueueFullError, RequestRefusedError
from inference.ports import InferenceError
from inference.requests import BODY_LIMIT

_encode = msgspec.json.Encoder().encode

_KNOWN = {
    404: "There is no such address.",
    405: "The address does not take this method.",
    413: f"The body is larger than {BODY_LIMIT // 2**20} MiB.",
}


def error_body(error: Exception) -> wire.WireErrorBody:
    """Return what a client is told about an error."""
    if isinstance(error, RequestRefusedError):
        found = wire.WireError(str(error), "invalid_request_error", error.param, error.code)
    elif isinstance(error, InferenceError):
        code = "overloaded" if isinstance(error, QueueFullError) else "failed"
        found = wire.WireError(str(error), "server_error", None, code)
    else:
        found = wire.WireError("Something failed on our side.", "server_error", None, "internal")
    return wire.WireErrorBody(found)


def refusal(error: Exception, status: int, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Return the response for an error."""
    return Response(
        content=_encode(error_body(error)), status_code=status, media_type=MediaType.JSON, headers=headers or {}
    )


def inference_refusal(error: InferenceError) -> Response[bytes]:
    """Return the response for an error of the tier: its own status if it has one, else 503."""
    status = error.status if isinstance(error, RequestRefusedError) else 503
    return refusal(error, status, {"Retry-After": str(error.retry_after)} if error.retry_after else None)


def http_refusal(status: int, headers: dict[str, str] | None) -> Response[bytes]:
    """Return the response for what never was a request of the API."""
    said = _KNOWN.get(status, "The request cannot be understood.")
    return refusal(RequestRefusedError(said, code="bad_request"), status, headers)
