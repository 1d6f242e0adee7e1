"""The shapes of `/v1/completions` on the wire: OpenAI's, with vLLM's additions for token ids."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from inference.wire import StreamOptions, Text, WireUsage

TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]

TokenIds = Annotated[list[TokenId], msgspec.Meta(min_length=1, max_length=2**20)]


class WireCompletionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/completions`. The fields after `stream_options` are known but not offered."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    prompt: str | list[TokenId | str | list[TokenId]]
    """A text, or token ids; a list of one text or of one list of ids is the same."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    stop: Text | Annotated[list[Text], msgspec.Meta(max_length=16)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    ignore_eos: bool | None = None
    return_token_ids: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None


class CompletionChoice(msgspec.Struct, frozen=True):
    """The one choice: whole, or what a chunk of a stream adds."""

    text: str
    finish_reason: str | None = None
    index: int = 0
    logprobs: None = None
    token_ids: tuple[int, ...] | UnsetType = UNSET
    """Ids of the text, the one that ended it too, where they were asked for."""
    prompt_token_ids: tuple[int, ...] | UnsetType = UNSET
    """Ids of the prompt, where they were asked for; in a stream in the first chunk only."""


class Completion(msgspec.Struct, frozen=True):
    """An answer, or a chunk of one."""

    id: str
    created: int
    model: str
    choices: tuple[CompletionChoice, ...]
    object: str = "text_completion"
    system_fingerprint: str = ""
    usage: WireUsage | None = None
