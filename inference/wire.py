"""The shapes of OpenAI's chat completions API on the wire, as far as this tier speaks it.

Requests are decoded strictly (an unknown field is refused by name); answers of other servers are decoded leniently
(`Received…`), because every one of them adds fields of its own.
"""

from typing import Annotated

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text", forbid_unknown_fields=True):
    """A piece of a message's content."""

    text: str


class WireMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a request."""

    role: str
    content: str | list[TextPart]
    name: str | None = None


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream carries besides the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


class WireRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/chat/completions`.

    The fields after `stream_options` are known but not offered: only their neutral values are taken.
    """

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    messages: Annotated[list[WireMessage], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    stop: Text | Annotated[list[Text], msgspec.Meta(max_length=16)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: msgspec.Raw = msgspec.Raw(b"null")
    response_format: msgspec.Raw = msgspec.Raw(b"null")


class WireUsage(msgspec.Struct, frozen=True):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class WireDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to the message."""

    role: str | None = None
    content: str | None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    """The one choice of a chunk."""

    delta: WireDelta
    index: int = 0
    finish_reason: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """One event of a streamed answer."""

    id: str
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    object: str = "chat.completion.chunk"
    system_fingerprint: str = ""
    usage: WireUsage | None = None


class AnswerMessage(msgspec.Struct, frozen=True):
    """The message of an answer that is not streamed."""

    content: str
    role: str = "assistant"


class AnswerChoice(msgspec.Struct, frozen=True):
    """The one choice of an answer that is not streamed."""

    message: AnswerMessage
    finish_reason: str
    index: int = 0


class Answer(msgspec.Struct, frozen=True):
    """An answer that is not streamed."""

    id: str
    created: int
    model: str
    choices: tuple[AnswerChoice, ...]
    usage: WireUsage
    object: str = "chat.completion"
    system_fingerprint: str = ""


class WireModel(msgspec.Struct, frozen=True):
    """One entry of `/v1/models`; `revision` is ours: the exact identity of the weights."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "attest"
    revision: str = ""


class WireModels(msgspec.Struct, frozen=True):
    """Body of `/v1/models`."""

    data: tuple[WireModel, ...]
    object: str = "list"


class WireError(msgspec.Struct, frozen=True):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class WireErrorBody(msgspec.Struct, frozen=True):
    """Body of a refused request, and of an event that ends a stream in error."""

    error: WireError


class ReceivedDelta(msgspec.Struct, frozen=True):
    """What another server's chunk adds."""

    content: str | None = None


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


class ReceivedChunk(msgspec.Struct, frozen=True):
    """One event of another server's stream."""

    choices: tuple[ReceivedChoice, ...] = ()
    usage: ReceivedUsage | None = None
    error: ReceivedError | None = None


class ReceivedErrorBody(msgspec.Struct, frozen=True):
    """Body of another server's refusal."""

    error: ReceivedError | None = None


class ReceivedModel(msgspec.Struct, frozen=True):
    """An entry of another server's list of models."""

    id: str
    revision: str = ""


class ReceivedModels(msgspec.Struct, frozen=True):
    """Another server's list of models."""

    data: tuple[ReceivedModel, ...]


class SentMessage(msgspec.Struct, frozen=True):
    """A message as the client sends it."""

    role: str
    content: str


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
    stream: bool = False
    stream_options: SentStreamOptions | None = None
