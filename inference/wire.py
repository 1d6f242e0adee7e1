"""The shapes of OpenAI's chat completions API on the wire, as far as this tier speaks it.

What comes in is decoded strictly: an unknown field is refused by name. The client's side is in `wire_client`.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text", forbid_unknown_fields=True):
    """A piece of a message's content."""

    text: str


ToolName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
"""A name of one line without blanks, because it becomes the metadata line of a message."""


class WireFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tool is."""

    name: ToolName
    description: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class WireTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool on offer."""

    type: Literal["function"]
    function: WireFunction


class CalledFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tool is called, and its arguments as JSON text."""

    name: ToolName
    arguments: str


class WireToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool, in a request or an answer; `index` stands in streams only."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    function: CalledFunction
    type: Literal["function"] = "function"
    index: int | UnsetType = UNSET


class WireMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a request. Content may be missing or null only beside `tool_calls`."""

    role: str
    content: str | list[TextPart] | UnsetType | None = UNSET
    name: str | None = None
    tool_calls: Annotated[list[WireToolCall], msgspec.Meta(max_length=128)] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream carries besides the text."""

    include_usage: bool = False
    include_obfuscation: bool = False


ForbiddenWord = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class WireForbidden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words that no answer may contain, and the rule that says so."""

    rule: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.-]{1,128}\Z")]
    words: Annotated[list[ForbiddenWord], msgspec.Meta(max_length=10_000)]


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
    tools: Annotated[list[WireTool], msgspec.Meta(max_length=128)] | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    """Ours, named as in OpenAI's responses API: `auto` leaves the oldest turns out of a dialogue that is too long."""
    forbidden: Annotated[list[WireForbidden], msgspec.Meta(max_length=256)] | None = None
    """Ours: words at which the answer is stopped."""
    tool_choice: msgspec.Raw = msgspec.Raw(b"null")
    response_format: msgspec.Raw = msgspec.Raw(b"null")


class WireUsage(msgspec.Struct, frozen=True):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class WireNotes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What Attest adds to an answer (`attest`), where there is something to say."""

    left_out: int = 0
    """Messages of the dialogue that the model did not read, for want of room."""
    lexicon: str = ""
    """Identity of the forbidden words that the answer is stopped at."""
    stopped_by: str = ""
    """Rule of the forbidden word that ended the answer."""


class WireDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to the message."""

    role: str | None = None
    content: str | None = None
    tool_calls: tuple[WireToolCall, ...] = ()


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
    attest: WireNotes | UnsetType = UNSET


class AnswerMessage(msgspec.Struct, frozen=True):
    """The message of an answer that is not streamed."""

    content: str | None
    role: str = "assistant"
    tool_calls: tuple[WireToolCall, ...] | UnsetType = UNSET


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
    attest: WireNotes | UnsetType = UNSET


class WireVersion(msgspec.Struct, frozen=True):
    """What Attest adds to an entry of `/v1/models`: what this version is used for (see `ports.ModelInfo`)."""

    model: str
    stage: str
    percent: int = 0
    groups: tuple[str, ...] = ()


class WireModel(msgspec.Struct, frozen=True):
    """One entry of `/v1/models`; `revision` is ours: the exact identity of the weights."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "attest"
    revision: str = ""
    stops_words: bool = True
    """Ours: `forbidden` is understood."""
    max_model_len: int = 0
    """Most tokens of one request, prompt and answer, under vLLM's name for it."""
    attest: WireVersion | UnsetType = UNSET


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
