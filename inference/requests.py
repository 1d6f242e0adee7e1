"""A body of `/v1/chat/completions` → a checked request. Every refusal names the parameter and quotes nothing."""

import re

import msgspec

from inference import wire
from inference.engine.base import ROLES
from inference.errors import RequestRefusedError
from inference.ports import ChatRequest, Message, Role

MESSAGE_LIMIT = 2000
"""Most messages in one request."""
BODY_LIMIT = 8 * 2**20
"""Largest body in bytes."""

_DEFAULTS = ChatRequest(model="", messages=())
_PATH = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.{1,64}?)`")
_MISSING = re.compile(r"missing required field `(\w{1,64})`")

_decode = msgspec.json.Decoder(wire.WireRequest).decode

_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "frequency_penalty": (None, 0.0),
    "presence_penalty": (None, 0.0),
    "logit_bias": (None, {}),
    "tools": (None, []),
}
"""Parameters that exist in the API but not here, with the values that ask for nothing."""

_RAW_NEUTRAL: dict[str, tuple[bytes, ...]] = {
    "tool_choice": (b"null", b'"none"', b'"auto"'),
    "response_format": (b"null", b'{"type":"text"}', b'{"type": "text"}'),
}


class ParsedRequest(msgspec.Struct, frozen=True):
    """A checked request, and how its answer is to be sent."""

    chat: ChatRequest
    stream: bool
    include_usage: bool


def parse(body: bytes) -> ParsedRequest:
    """Check a body. Raises `RequestRefusedError` that names the parameter at fault."""
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestRefusedError("The body is not valid JSON in UTF-8.", code="invalid_json") from None
    _check_offered(request)
    if len(request.messages) > MESSAGE_LIMIT:
        raise RequestRefusedError(f"There are more than {MESSAGE_LIMIT} messages.", param="messages")
    limit = request.max_completion_tokens or request.max_tokens
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    chat = ChatRequest(
        model=request.model,
        messages=tuple(_message(index, message) for index, message in enumerate(request.messages)),
        max_tokens=limit if limit is not None else _DEFAULTS.max_tokens,
        temperature=request.temperature if request.temperature is not None else _DEFAULTS.temperature,
        top_p=request.top_p if request.top_p is not None else _DEFAULTS.top_p,
        stop=stop,
        seed=request.seed,
    )
    options = request.stream_options or wire.StreamOptions()
    return ParsedRequest(chat=chat, stream=bool(request.stream), include_usage=options.include_usage)


def _check_offered(request: wire.WireRequest) -> None:
    for name, neutral in _NEUTRAL.items():
        if getattr(request, name) not in neutral:
            raise RequestRefusedError(f"{name} is not offered here.", code="unsupported_parameter", param=name)
    for name, raw_neutral in _RAW_NEUTRAL.items():
        raw = getattr(request, name)
        if bytes(raw) not in raw_neutral:
            raise RequestRefusedError(f"{name} is not offered here.", code="unsupported_parameter", param=name)
    if request.stream_options is not None and not request.stream:
        raise RequestRefusedError("stream_options needs stream to be true.", param="stream_options")


def _message(index: int, message: wire.WireMessage) -> Message:
    role = "system" if message.role == "developer" else message.role
    if role not in ROLES:
        raise RequestRefusedError(
            f"The role must be one of {', '.join(sorted(ROLES))}.", param=f"messages[{index}].role"
        )
    content = message.content if isinstance(message.content, str) else "".join(part.text for part in message.content)
    if "\0" in content:
        raise RequestRefusedError("The content has a NUL character.", param=f"messages[{index}].content")
    return Message(role=Role(role), content=content)


def _refused(reason: str) -> RequestRefusedError:
    """Turn msgspec's words into a refusal; they name fields and types, never values."""
    path = _PATH.search(reason)
    where = path[1] if path else ""
    said = reason[: path.start()] if path else reason
    if unknown := _UNKNOWN.search(said):
        param = ".".join(part for part in (where, unknown[1]) if part)
        return RequestRefusedError("There is no such parameter.", code="unknown_parameter", param=param)
    if missing := _MISSING.search(said):
        param = ".".join(part for part in (where, missing[1]) if part)
        return RequestRefusedError(f"{param} is missing.", code="missing_required_parameter", param=param)
    if said.startswith("Invalid value"):
        said = "The value is not one of those allowed"
    return RequestRefusedError(f"{said}.", code="invalid_value", param=where or None)
