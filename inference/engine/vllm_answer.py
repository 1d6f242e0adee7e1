"""What a vLLM server sends back: events with token ids, bounded, and what a job makes of them."""

from collections.abc import AsyncGenerator
from typing import Annotated

import aiohttp
import msgspec

from inference.engine.jobs import Job
from inference.ports import FinishReason, InferenceError
from inference.sse import EventParser, EventTooLargeError

_EVENT_BYTES = 256 * 1024
"""Largest event, beside the ids of the prompt, which vLLM sends back in the first one."""
_ID_BYTES = 12
"""Most bytes of one id in a list."""
_TOKEN_BYTES = 1024
"""Most bytes of the answer for each of its tokens: several times what vLLM sends."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class Choice(msgspec.Struct, frozen=True):
    """What one event says of the one answer."""

    token_ids: tuple[Count, ...] | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[Choice, ...] = ()
    error: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


UNREADABLE = (EventTooLargeError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What reading an answer may raise where the server does not keep to the protocol."""


def take(job: Job, choice: Choice) -> None:
    """Let a job take what came; it says what that adds, and when it is at its end."""
    for token in choice.token_ids or ():
        if job.take(token):
            job.finish()
            return
    if choice.finish_reason is not None:
        job.cut_off(FinishReason.LENGTH if choice.finish_reason == "length" else FinishReason.STOP)


async def choices(response: aiohttp.ClientResponse, job: Job) -> AsyncGenerator[Choice, None]:
    """Yield what each event says. Raises `InferenceError` for one that tells of an error, or `EventTooLargeError`."""
    event_bytes = _EVENT_BYTES + _ID_BYTES * len(job.prompt)
    parser, left = EventParser(event_bytes), event_bytes + _TOKEN_BYTES * job.max_tokens
    while chunk := await response.content.readany():
        left -= len(chunk)
        if left < 0:
            raise EventTooLargeError
        for event in parser.feed(chunk):
            if event == b"[DONE]":
                return
            read = _decode(event)
            if read.error is not None:
                raise InferenceError("vLLM failed while answering.", retry_after=1)
            for choice in read.choices[:1]:
                yield choice
