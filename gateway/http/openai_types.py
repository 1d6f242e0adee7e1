"""The OpenAI-compatible request and responses of `/v1`, as far as Attest understands them.

Unknown fields are refused by name; fields that are known but mean something Attest cannot do (several choices, tools,
log probabilities) are refused clearly instead of being ignored. `attest` beside the usual fields says what became of
the turn.
"""

from typing import Annotated, Any, Literal

import msgspec

from gateway.problems import BadRequestError
from gateway.settings import Settings
from gateway.usage.allowance import BudgetNotice
from inference.ports import Message, Role

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a message; only text is understood."""

    text: str
    type: Literal["text"] = "text"


Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)] | None
"""What clients send along with an answer that they were given, where it says nothing."""


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of the request."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Nothing = None
    annotations: Nothing = None
    function_call: None = None
    audio: None = None

    def text(self) -> str:
        """Return the content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of a streamed answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only plain text is offered."""

    type: Literal["text"]


Zero = Annotated[float, msgspec.Meta(ge=0, le=0)]
"""0 and 0.0: many programs write down what is so anyway."""


class ChatCompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=131_072)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1, le=131_072)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=4)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    n: Literal[1] | None = None
    frequency_penalty: Zero | None = None
    presence_penalty: Zero | None = None
    logprobs: Literal[False] | None = None
    response_format: ResponseFormat | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None

    def dialogue(self, settings: Settings) -> tuple[Message, ...]:
        """Return the messages, checked against the limits. Raises `BadRequestError`."""
        messages = tuple(Message(role=_ROLES[message.role], content=message.text()) for message in self.messages)
        check_dialogue(messages, settings)
        return messages

    def stops(self) -> tuple[str, ...]:
        """Return the stop texts. Raises `BadRequestError` for an empty or long one."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if any(not 1 <= len(stop) <= 64 for stop in stops):  # noqa: PLR2004 - a stop is a word or a sign, not a text
            raise BadRequestError("stop: each must have 1 to 64 characters.")
        return stops


def check_dialogue(messages: tuple[Message, ...], settings: Settings) -> None:
    """Hold a dialogue against the limits, for every surface. Raises `BadRequestError`."""
    if len(messages) > settings.history_limit_messages:
        raise BadRequestError(f"messages: at most {settings.history_limit_messages} in one request.")
    if messages[-1].role is not Role.USER:
        raise BadRequestError("messages: the last one must have the role user.")
    newest = messages[-1].content
    if not newest.strip():
        raise BadRequestError("messages: the last one is empty.")
    if len(newest) > settings.message_limit_chars:
        raise BadRequestError(f"messages: the last one is longer than {settings.message_limit_chars} characters.")
    if sum(len(message.content) for message in messages) > settings.context_limit_chars:
        raise BadRequestError(f"messages: together longer than {settings.context_limit_chars} characters.")
    if any("\0" in message.content for message in messages):
        raise BadRequestError("messages: a NUL character is not text.")


class AttestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the turn, beside OpenAI's own fields."""

    turn_id: str
    outcome: str
    """`completed | blocked | aborted`."""
    reason: str = ""
    categories: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    redacted: bool = False
    left_out: int = 0
    """Earlier messages that did not go to the model, since the policy blocks them."""
    budget: BudgetNotice | None = None
    """A budget that is nearly used up."""


class AnswerMessage(msgspec.Struct, frozen=True):
    """The answer."""

    content: str
    refusal: str | None = None
    role: str = "assistant"


class Choice(msgspec.Struct, frozen=True):
    """The one choice."""

    message: AnswerMessage
    finish_reason: str
    index: int = 0
    logprobs: None = None


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens of the turn, as the inference tier counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of `POST /v1/chat/completions` without `stream`."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: TokenUsage
    attest: AttestInfo
    object: str = "chat.completion"


class ChunkDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds."""

    role: str | None = None
    content: str | None = None
    refusal: str | None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    """The one choice of a chunk."""

    delta: ChunkDelta
    finish_reason: str | None = None
    index: int = 0
    logprobs: None = None


class ChatCompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a streamed answer."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: str = "chat.completion.chunk"
    usage: TokenUsage | None = None
    attest: AttestInfo | msgspec.UnsetType = msgspec.UNSET


class ModelCard(msgspec.Struct, frozen=True):
    """A model on offer."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "attest"


class ModelList(msgspec.Struct, frozen=True):
    """Answer of `GET /v1/models`."""

    data: list[ModelCard]
    object: str = "list"
