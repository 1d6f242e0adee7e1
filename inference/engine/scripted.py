"""An engine that answers from a script, for tests, benches and trying out an installation without a model.

The script is a JSON file (`Script` and `Reply` below name every field):

    {"model": "scripted", "context": 8192,
     "default": {"text": "Hello."},
     "rules": [{"contains": "weather", "text": "Sunny.", "chunk": 2, "delay_ms": 10},
               {"contains": "boom", "error": "overloaded"}]}

The first rule whose `contains` occurs in the last message answers. A token is four characters.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from inference.engine.base import ClosedError, Load, ModelFolderError
from inference.errors import (
    ContextOverflowError,
    EngineFailedError,
    QueueFullError,
    RequestRefusedError,
    UnknownModelError,
)
from inference.forbidden import Lexicons
from inference.ports import (
    ChatRequest,
    CompletionRequest,
    Delta,
    FinishReason,
    InferenceError,
    Message,
    ModelInfo,
    Role,
    ToolCall,
    Usage,
)
from inference.stop import StopScanner

TOKEN_CHARS = 4


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is answered, and how fast."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    """Tools to call after the text; only those that the request offers are."""
    echo: bool = False
    """Answer with the last message itself instead of `text`."""
    chunk: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Characters per stretch; 0 is the whole text at once."""
    first_delay_ms: Annotated[float, msgspec.Meta(ge=0)] = 0
    """Wait before the first stretch."""
    delay_ms: Annotated[float, msgspec.Meta(ge=0)] = 0
    """Wait before each further stretch."""
    error: Literal["overloaded", "failed", "broken_off"] | None = None
    """Fail: refuse with 503, fail before the text, or fail after it."""
    contains: str = ""
    """In a rule: the text that the last message must contain."""


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole script."""

    default: Reply = Reply(text="This is a scripted answer.")
    rules: tuple[Reply, ...] = ()
    model: str = "scripted"
    context: Annotated[int, msgspec.Meta(ge=1)] = 32_768
    """Most tokens of a prompt."""


def read_script(path: Path) -> Script:
    """Read a script. Raises `ModelFolderError` that says what is wrong."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Script)
    except OSError as error:
        raise ModelFolderError(f"The script {path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelFolderError(f"The script {path} is not valid: {error}") from None


class ScriptedEngine:
    """Answers from a script; nothing is computed."""

    def __init__(self, script: Script | None = None) -> None:
        self._script = script or Script()
        revision = hashlib.sha256(msgspec.json.encode(self._script)).hexdigest()
        self._info = ModelInfo(
            name=self._script.model, revision=f"sha256:{revision}", stops_words=True, context=self._script.context
        )
        self._lexicons = Lexicons()
        self._running = 0
        self._open = False
        self._closing = asyncio.Event()

    @property
    def info(self) -> ModelInfo:
        """The model that the script names."""
        return self._info

    async def start(self) -> None:
        """Get ready."""
        self._open = True

    async def close(self) -> None:
        """Stop; running streams end with `InferenceError`."""
        self._open = False
        self._closing.set()

    def load(self) -> Load:
        """Say how many streams run."""
        return Load(ready=self._open, running=self._running)

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the one model."""
        return (self._info,)

    async def stream(
        self,
        request: ChatRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the port has it
    ) -> AsyncGenerator[Delta, None]:
        """Yield the script's answer. Raises `InferenceError` by name."""
        if not self._open:
            raise ClosedError
        if request.model != self._info.name:
            raise UnknownModelError
        prompt = sum(_tokens(message.content) for message in request.messages)
        if prompt > self._script.context:
            raise ContextOverflowError(f"The messages have {prompt} tokens; the context has {self._script.context}.")
        reply = self._reply(request)
        if reply.error == "overloaded":
            raise QueueFullError
        if reply.error == "failed":
            raise EngineFailedError
        self._running += 1
        try:
            async for delta in self._play(reply, request, prompt):
                yield delta
        finally:
            self._running -= 1

    async def complete(
        self,
        request: CompletionRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - the port has it
    ) -> AsyncGenerator[Delta, None]:
        """Answer a text as a dialogue of one message. Token ids mean nothing to a script."""
        if not isinstance(request.prompt, str):
            raise RequestRefusedError("A script has no tokens: send text.", code="no_tokenizer", param="prompt")
        asked = ChatRequest(
            model=request.model,
            messages=(Message(Role.USER, request.prompt),),
            max_tokens=request.max_tokens,
            stop=request.stop,
        )
        async with aclosing(self.stream(asked)) as deltas:
            async for delta in deltas:
                yield delta

    def _reply(self, request: ChatRequest) -> Reply:
        last = request.messages[-1].content if request.messages else ""
        reply = next((rule for rule in self._script.rules if rule.contains in last), self._script.default)
        return msgspec.structs.replace(reply, text=last) if reply.echo else reply

    async def _play(self, reply: Reply, request: ChatRequest, prompt: int) -> AsyncGenerator[Delta, None]:
        text = reply.text[: request.max_tokens * TOKEN_CHARS]
        finish = FinishReason.STOP if len(text) == len(reply.text) else FinishReason.LENGTH
        scanner, walk = StopScanner(request.stop), self._lexicons.walk(request.forbidden)
        lexicon, stopped_by = walk.digest if walk else "", ""
        size = reply.chunk or len(text) or 1
        used = 0
        for start in range(0, len(text), size):
            await self._wait(reply.delay_ms if start else reply.first_delay_ms)
            piece = text[start : start + size]
            used = start + len(piece)
            shown, stopped = scanner.feed(piece)
            stopped_by = walk.text(piece) if walk else ""
            if shown:
                yield Delta(text=shown, lexicon=lexicon)
            if stopped_by:
                break
            if stopped:
                finish = FinishReason.STOP
                break
        if reply.error == "broken_off":
            raise EngineFailedError
        usage = Usage(prompt_tokens=prompt, completion_tokens=-(-used // TOKEN_CHARS))
        stopped_by = stopped_by or (walk.end() if walk else "")
        calls = () if stopped_by else _calls(reply, request)
        finish = FinishReason.CONTENT_FILTER if stopped_by else FinishReason.TOOL_CALLS if calls else finish
        yield Delta(
            text=scanner.flush(), finish_reason=finish, usage=usage, tool_calls=calls, lexicon=lexicon,
            stopped_by=stopped_by,
        )  # fmt: skip

    async def _wait(self, milliseconds: float) -> None:
        if milliseconds > 0:
            try:
                await asyncio.wait_for(self._closing.wait(), milliseconds / 1000)
            except TimeoutError:
                return
        if self._closing.is_set():
            raise InferenceError("The inference tier stops.", retry_after=2)


def _calls(reply: Reply, request: ChatRequest) -> tuple[ToolCall, ...]:
    offered = {tool.name for tool in request.tools}
    return tuple(
        ToolCall(f"call_{place}", call.name, msgspec.json.encode(call.arguments).decode())
        for place, call in enumerate(reply.calls)
        if call.name in offered
    )


def _tokens(text: str) -> int:
    return -(-len(text) // TOKEN_CHARS)
