"""The client's side of the wire: what it sends, and what it takes of another server's answers.

Answers are decoded leniently, because every server adds fields of its own.
"""

from typing import Annotated

import msgspec

from inference.ports import ForbiddenWords
from inference.wire import WireToolCall

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class ReceivedFunction(msgspec.Struct, frozen=True):
    """A piece of a call: its name stands in the first piece, the arguments come in stretches."""

    name: str | None = None
    arguments: str | None = None


class ReceivedToolCall(msgspec.Struct, frozen=True):
    """A piece of a call of a tool."""

    index: Annotated[int, msgspec.Meta(ge=0, lt=128)] = 0
    id: str | None = None
    function: ReceivedFunction | None = None


class ReceivedDelta(msgspec.Struct, frozen=True):
    """What another server's chunk adds."""

    content: str | None = None
    tool_calls: tuple[ReceivedToolCall, ...] | None = None


class ReceivedChoice(msgspec.Struct, frozen=True):
    """A choice of another server's chunk."""

    delta: ReceivedDelta | None = None
    finish_reason: str | None = None


class ReceivedUsage(msgspec.Struct, frozen=True):
    """Token counts of another server."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0


class ReceivedError(msgspec.Struct, frozen=True):
    """Another server's error; only its code is used, since its message may quote the request."""

    code: str | int | None = None
    type: str | None = None
    param: str | None = None


class ReceivedNotes(msgspec.Struct, frozen=True):
    """What our own tier adds to an answer."""

    left_out: Count = 0
    lexicon: str = ""
    stopped_by: str = ""


class ReceivedChunk(msgspec.Struct, frozen=True):
    """One event of another server's stream."""

    choices: tuple[ReceivedChoice, ...] = ()
    usage: ReceivedUsage | None = None
    error: ReceivedError | None = None
    attest: ReceivedNotes | None = None
    system_fingerprint: str | None = None


class ReceivedErrorBody(msgspec.Struct, frozen=True):
    """Body of another server's refusal."""

    error: ReceivedError | None = None


class ReceivedVersion(msgspec.Struct, frozen=True):
    """What our own tier says of a version."""

    model: str = ""
    stage: str = ""
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    groups: tuple[str, ...] = ()


class ReceivedModel(msgspec.Struct, frozen=True):
    """An entry of another server's list of models."""

    id: str
    revision: str = ""
    stops_words: bool = False
    max_model_len: Count | None = None
    attest: ReceivedVersion | None = None


class ReceivedModels(msgspec.Struct, frozen=True):
    """Another server's list of models."""

    data: tuple[ReceivedModel, ...]


class SentFunction(msgspec.Struct, frozen=True):
    """What a tool is."""

    name: str
    description: str
    parameters: msgspec.Raw


class SentTool(msgspec.Struct, frozen=True):
    """A tool on offer."""

    function: SentFunction
    type: str = "function"


class SentMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message as the client sends it."""

    role: str
    content: str
    tool_calls: tuple[WireToolCall, ...] = ()
    tool_call_id: str = ""


class SentStreamOptions(msgspec.Struct, frozen=True):
    """The client always asks for the token counts."""

    include_usage: bool = True


class SentRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The request as the client sends it; fields at their defaults are left out."""

    model: str
    messages: tuple[SentMessage, ...]
    max_tokens: int
    temperature: float
    top_p: float
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[SentTool, ...] = ()
    truncation: str = ""
    forbidden: tuple[ForbiddenWords, ...] = ()
    stream: bool = False
    stream_options: SentStreamOptions | None = None
