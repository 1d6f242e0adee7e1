"""A body of `/v1/chat/completions` → a checked request. Every refusal names the parameter and quotes nothing."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from inference import wire
from inference.engine.base import ROLES
from inference.errors import RequestRefusedError
from inference.forbidden import MOST_WORDS
from inference.ports import ChatRequest, ForbiddenWords, Message, Role, Tool, ToolCall

MESSAGE_LIMIT = 2000
"""Most messages in one request."""
BODY_LIMIT = 8 * 2**20
"""Largest body in bytes."""
DEEPEST = 32
"""Deepest nesting of a tool's parameters and arguments."""
TOOLS_LIMIT = 256 * 1024
"""Most characters of all tools together, as compact JSON: before the model they are indented, many times as long."""

T = TypeVar("T")

_DEFAULTS = ChatRequest(model="", messages=())
_PATH = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"unknown field `(.{1,64}?)`")
_MISSING = re.compile(r"missing required field `(\w{1,64})`")

_PATTERN = re.compile(r"matching regex '\\\\A(.*)\\\\Z'")

_decode = msgspec.json.Decoder(wire.WireRequest).decode
_decode_arguments = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode

_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "frequency_penalty": (None, 0.0),
    "presence_penalty": (None, 0.0),
    "logit_bias": (None, {}),
}
"""Parameters that exist in the API but not here, with the values that ask for nothing."""

_NO_TOOLS = b'"none"'
_RAW_NEUTRAL: dict[str, tuple[bytes, ...]] = {
    "tool_choice": (b"null", _NO_TOOLS, b'"auto"'),
    "response_format": (b"null", b'{"type":"text"}', b'{"type": "text"}'),
}


class ParsedRequest(msgspec.Struct, frozen=True):
    """A checked request, and how its answer is to be sent."""

    chat: ChatRequest
    stream: bool
    include_usage: bool


def parse(body: bytes) -> ParsedRequest:
    """Check a body. Raises `RequestRefusedError` that names the parameter at fault."""
    request = decoded(_decode, body)
    _check_offered(request)
    if len(request.messages) > MESSAGE_LIMIT:
        raise RequestRefusedError(f"There are more than {MESSAGE_LIMIT} messages.", param="messages")
    limit = request.max_completion_tokens or request.max_tokens
    offered = () if bytes(request.tool_choice) == _NO_TOOLS else tuple(request.tools or ())
    chat = ChatRequest(
        model=request.model,
        messages=_messages(request.messages),
        max_tokens=limit if limit is not None else _DEFAULTS.max_tokens,
        temperature=request.temperature if request.temperature is not None else _DEFAULTS.temperature,
        top_p=request.top_p if request.top_p is not None else _DEFAULTS.top_p,
        stop=stops(request.stop),
        seed=request.seed,
        tools=_tools(offered),
        drop_oldest=request.truncation == "auto",
        forbidden=_forbidden(request.forbidden or []),
    )
    options = request.stream_options or wire.StreamOptions()
    return ParsedRequest(chat=chat, stream=bool(request.stream), include_usage=options.include_usage)


def decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode a body strictly. Raises `RequestRefusedError` that names the parameter at fault."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestRefusedError("The body is not valid JSON in UTF-8.", code="invalid_json") from None


def stops(given: str | list[str] | None) -> tuple[str, ...]:
    """Return stop strings, one or several."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def check_neutral(request: msgspec.Struct, neutral: dict[str, tuple[object, ...]]) -> None:
    """Refuse parameters that exist in the API but not here, unless they ask for nothing."""
    for name, values in neutral.items():
        if getattr(request, name) not in values:
            raise _unsupported(name, [_encode(value) for value in values if value])


def _check_offered(request: wire.WireRequest) -> None:
    check_neutral(request, _NEUTRAL)
    for name, raw_neutral in _RAW_NEUTRAL.items():
        raw = getattr(request, name)
        if bytes(raw) not in raw_neutral:
            raise _unsupported(name, [value for value in raw_neutral if value != b"null" and b": " not in value])
    if request.stream_options is not None and not request.stream:
        raise RequestRefusedError("stream_options needs stream to be true.", param="stream_options")


def _unsupported(name: str, neutral: list[bytes]) -> RequestRefusedError:
    but = f" but for {b' or '.join(neutral).decode()}" if neutral else ""
    return RequestRefusedError(
        f"{name} is not offered here{but}: leave it out.", code="unsupported_parameter", param=name
    )


def _forbidden(given: list[wire.WireForbidden]) -> tuple[ForbiddenWords, ...]:
    if sum(len(part.words) for part in given) > MOST_WORDS:
        raise RequestRefusedError(f"There are more than {MOST_WORDS} forbidden words.", param="forbidden")
    return tuple(ForbiddenWords(part.rule, tuple(part.words)) for part in given)


def _messages(given: list[wire.WireMessage]) -> tuple[Message, ...]:
    found: list[Message] = []
    asked: set[str] = set()
    for index, message in enumerate(given):
        one = _message(index, message)
        if one.tool_call_id and one.tool_call_id not in asked:
            raise RequestRefusedError(
                "No earlier message has a call with this id.", param=f"messages[{index}].tool_call_id"
            )
        asked |= {call.id for call in one.tool_calls}
        found.append(one)
    return tuple(found)


def _message(index: int, message: wire.WireMessage) -> Message:
    role = {"developer": "system", "tool": "observation"}.get(message.role, message.role)
    if role not in ROLES:
        raise RequestRefusedError(
            f"The role must be one of {', '.join(sorted({*ROLES, 'tool'}))}.", param=f"messages[{index}].role"
        )
    if message.role == "tool" and not message.tool_call_id:
        raise _missing(f"messages[{index}].tool_call_id")
    if message.tool_calls and role != "assistant":
        raise RequestRefusedError("Only the assistant calls tools.", param=f"messages[{index}].tool_calls")
    return Message(
        role=Role(role),
        content=_content(index, message),
        tool_calls=tuple(_call(index, place, call) for place, call in enumerate(message.tool_calls or ())),
        tool_call_id=(message.tool_call_id or "") if role == "observation" else "",
    )


def _content(index: int, message: wire.WireMessage) -> str:
    param = f"messages[{index}].content"
    given = message.content
    if given is UNSET or given is None:
        if message.tool_calls:
            return ""
        if given is UNSET:
            raise _missing(param)
        raise RequestRefusedError("The content must not be null.", param=param)
    content = given if isinstance(given, str) else "".join(part.text for part in given)
    if "\0" in content:
        raise RequestRefusedError("The content has a NUL character.", param=param)
    return content


def _call(index: int, place: int, call: wire.WireToolCall) -> ToolCall:
    param = f"messages[{index}].tool_calls[{place}].function.arguments"
    try:
        arguments = _decode_arguments(call.function.arguments)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise RequestRefusedError("The arguments must be a JSON object.", param=param) from None
    _check_depth(arguments, param)
    return ToolCall(id=call.id, name=call.function.name, arguments=_encode(arguments).decode())


def _tools(offered: Sequence[wire.WireTool]) -> tuple[Tool, ...]:
    """Return the tools; a name is given once, for a call says by nothing else which tool is meant."""
    found: dict[str, Tool] = {}
    for index, one in enumerate(offered):
        tool = _tool(index, one)
        if tool.name in found:
            raise RequestRefusedError("An earlier tool has this name.", param=f"tools[{index}].function.name")
        found[tool.name] = tool
    if sum(len(one.name) + len(one.description) + len(one.parameters) for one in found.values()) > TOOLS_LIMIT:
        raise RequestRefusedError(f"The tools have more than {TOOLS_LIMIT} characters together.", param="tools")
    return tuple(found.values())


def _tool(index: int, tool: wire.WireTool) -> Tool:
    function = tool.function
    parameters = function.parameters or {}
    _check_depth(parameters, f"tools[{index}].function.parameters")
    return Tool(name=function.name, description=function.description or "", parameters=_encode(parameters).decode())


def _check_depth(value: object, param: str) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise RequestRefusedError(f"This is nested deeper than {DEEPEST} levels.", param=param)


def _missing(param: str) -> RequestRefusedError:
    return RequestRefusedError(f"{param} is missing.", code="missing_required_parameter", param=param)


def _refused(reason: str) -> RequestRefusedError:
    """Turn msgspec's words into a refusal; they name fields and types, never values."""
    path = _PATH.search(reason)
    where = path[1] if path else ""
    said = reason[: path.start()] if path else reason
    if unknown := _UNKNOWN.search(said):
        param = ".".join(part for part in (where, unknown[1]) if part)
        return RequestRefusedError("There is no such parameter.", code="unknown_parameter", param=param)
    if missing := _MISSING.search(said):
        return _missing(".".join(part for part in (where, missing[1]) if part))
    if said.startswith("Invalid "):
        said = f"Only {_allowed(where)} may stand here"
    elif pattern := _PATTERN.search(said):
        said = f"Only text like {pattern[1]} may stand here"
    return RequestRefusedError(f"{said}.", code="invalid_value", param=where or None)


def _allowed(where: str) -> str:
    """Name the words that are allowed at a place where only certain ones are."""
    if where == "truncation":
        return '"auto" or "disabled"'
    return '"text"' if ".content[" in where else '"function"'
