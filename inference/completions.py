"""`/v1/completions`: a body → a checked request, and deltas → the API's objects."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from inference import wire
from inference.errors import RequestRefusedError
from inference.exchange import Exchange, event, usage_of
from inference.ports import CompletionRequest, Delta, Usage
from inference.requests import check_neutral, decoded, stops
from inference.wire_completions import Completion, CompletionChoice, TokenIds, WireCompletionRequest

_DEFAULTS = CompletionRequest(model="", prompt="")
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "logprobs": (None,),
    "frequency_penalty": (None, 0.0),
    "presence_penalty": (None, 0.0),
    "logit_bias": (None, {}),
}

_decode = msgspec.json.Decoder(WireCompletionRequest).decode


class ParsedCompletion(msgspec.Struct, frozen=True):
    """A checked request, and how its answer is to be sent."""

    completion: CompletionRequest
    stream: bool
    include_usage: bool


def parse(body: bytes) -> ParsedCompletion:
    """Check a body. Raises `RequestRefusedError` that names the parameter at fault."""
    request = decoded(_decode, body)
    check_neutral(request, _NEUTRAL)
    if request.stream_options is not None and not request.stream:
        raise RequestRefusedError("stream_options needs stream to be true.", param="stream_options")
    completion = CompletionRequest(
        model=request.model,
        prompt=_prompt(request.prompt),
        max_tokens=request.max_tokens or _DEFAULTS.max_tokens,
        temperature=request.temperature if request.temperature is not None else _DEFAULTS.temperature,
        top_p=request.top_p if request.top_p is not None else _DEFAULTS.top_p,
        stop=stops(request.stop),
        seed=request.seed,
        ignore_eos=bool(request.ignore_eos),
        token_ids=bool(request.return_token_ids),
    )
    options = request.stream_options or wire.StreamOptions()
    return ParsedCompletion(completion, stream=bool(request.stream), include_usage=options.include_usage)


def _prompt(given: str | Sequence[int | str | list[int]]) -> str | tuple[int, ...]:
    one = given[0] if not isinstance(given, str) and len(given) == 1 and not isinstance(given[0], int) else given
    if isinstance(one, str):
        if "\0" in one:
            raise RequestRefusedError("The prompt has a NUL character.", param="prompt")
        return one
    try:
        return tuple(msgspec.convert(one, TokenIds))
    except msgspec.ValidationError:
        raise RequestRefusedError("The prompt must be one text, or one list of token ids.", param="prompt") from None


class CompletionShape:
    """How an answer looks in this API."""

    operation = "text_completion"

    def __init__(self, exchange: Exchange, *, token_ids: bool) -> None:
        self._exchange = exchange
        self._token_ids = token_ids

    def opening(self) -> bytes:
        """Return nothing: a stream begins with its first text."""
        return b""

    def stretch(self, delta: Delta) -> bytes:
        """Return the event for a stretch, empty where it adds nothing."""
        if not delta.text and not delta.token_ids:
            return b""
        return event(self._body((self._choice((delta,)),)))

    def closing(self, last: Delta, *, include_usage: bool) -> bytes:
        """Return the events that end a stream."""
        choice = CompletionChoice(text="", finish_reason=last.finish_reason)
        end = event(self._body((choice,)))
        return end + event(self._body((), last.usage or Usage())) if include_usage else end

    def whole(self, deltas: Sequence[Delta]) -> msgspec.Struct:
        """Return the answer that is not streamed."""
        choice = self._choice(deltas)
        choice = msgspec.structs.replace(choice, finish_reason=deltas[-1].finish_reason)
        return self._body((choice,), deltas[-1].usage or Usage())

    def _choice(self, deltas: Sequence[Delta]) -> CompletionChoice:
        text = "".join(delta.text for delta in deltas)
        if not self._token_ids:
            return CompletionChoice(text=text)
        return CompletionChoice(
            text=text,
            token_ids=tuple(index for delta in deltas for index in delta.token_ids),
            prompt_token_ids=deltas[0].prompt_token_ids or UNSET,
        )

    def _body(self, choices: tuple[CompletionChoice, ...], usage: Usage | None = None) -> Completion:
        exchange = self._exchange
        return Completion(
            id=exchange.id,
            created=exchange.created,
            model=exchange.info.name,
            choices=choices,
            system_fingerprint=exchange.info.revision,
            usage=usage_of(usage) if usage is not None else None,
        )
