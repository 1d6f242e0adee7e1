"""A vLLM server as an engine: it computes, everything that decides stays here.

Prompts go as token ids to its `/v1/completions`, so that text never becomes a control token and no code of the folder
runs there (`--skip-tokenizer-init`); ids come back and are read, stopped and counted as those of the torch engine are.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
import torch
from msgspec import UNSET

from inference.chatglm3.reply import Reply, ReplyReader
from inference.chatglm3.tools import ToolReply
from inference.engine import dialogue
from inference.engine.base import ClosedError, Load
from inference.engine.jobs import Job
from inference.engine.sampling import Sampler
from inference.engine.vllm_answer import UNREADABLE, Choice, choices, take
from inference.engine.vllm_folder import open_folder
from inference.errors import QueueFullError, UnknownModelError
from inference.forbidden import Lexicons
from inference.ports import ChatRequest, CompletionRequest, Delta, InferenceError, ModelInfo

LOG = logging.getLogger("attest.inference.engine")

_SILENCE_S = 120.0
_CONNECT_S = 10.0
_WATCH_S = 2.0
_KEPT_S = 4.0
"""How long an idle connection is kept: shorter than common servers do, so that a request seldom meets a closing one."""


@dataclass(frozen=True)
class Upstream:
    """Where vLLM listens, and the name under which it serves the folder."""

    url: str
    """Ends in `/v1`."""
    model: str
    api_key: str = ""


class VllmEngine:
    """Answers with what a vLLM server computes."""

    def __init__(self, upstream: Upstream, folder: Path, name: str = "", *, context: int = 0, most: int = 256) -> None:
        """`folder` is the one that vLLM serves; `most` requests are under way at once. Raises `ModelFolderError`."""
        opened = open_folder(folder)
        published, self._tokenizer = opened.published, opened.tokenizer
        self._upstream = upstream
        self._vocabulary = published.padded_vocab_size
        self._context = min(context or published.seq_length, published.seq_length)
        self._info = ModelInfo(
            name=name or folder.resolve().name, revision=opened.revision, stops_words=True, context=self._context
        )
        self._stop_ids = frozenset(self._tokenizer.specials.stop_ids)
        self._lexicons = Lexicons(self._tokenizer.piece)
        self._most = most
        self._running = self._prompt_tokens = self._rows = 0
        self._session: aiohttp.ClientSession | None = None
        self._healthy: bool | None = None
        """None until it was looked at."""
        self._watching: asyncio.Task[None] | None = None

    @property
    def info(self) -> ModelInfo:
        """The model; its revision is that of the folder that vLLM was given."""
        return self._info

    async def start(self) -> None:
        """Open connections and look whether vLLM is well, from now on."""
        headers = {"Authorization": f"Bearer {self._upstream.api_key}"} if self._upstream.api_key else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)
        # One connection for each request and one for the look at vLLM, which no request may keep waiting.
        connector = aiohttp.TCPConnector(limit=self._most + 1, keepalive_timeout=_KEPT_S)
        self._session = aiohttp.ClientSession(
            headers=headers | {"Accept-Encoding": "identity"},
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        await self._look()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Close the connections; running streams end with `InferenceError`."""
        if self._watching is not None:
            self._watching.cancel()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def load(self) -> Load:
        """Say how many requests are under way, and whether vLLM was well when last looked at.

        How vLLM goes about it (queue, steps, memory, failures) is not known here: its own metrics say it.
        """
        ready = self._session is not None and bool(self._healthy)
        return Load(
            ready=ready,
            running=self._running,
            waiting=UNSET,
            restarts=UNSET,
            places=self._most,
            cache_tokens=UNSET,
            cache_limit=UNSET,
            decode_steps=UNSET,
            decode_rows=self._rows,
            prompt_tokens=self._prompt_tokens,
        )

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the one model. Raises `InferenceError` while vLLM is not well."""
        if not self.load().ready:
            raise InferenceError("vLLM does not answer; see --upstream and its own log.", retry_after=2)
        return (self._info,)

    def stream(
        self,
        request: ChatRequest,
        headers: dict[str, str] | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """Yield the answer. Raises `RequestRefusedError` when the request is at fault, else `InferenceError`."""
        return self._answers(partial(self._chat_job, request), request, headers)

    def complete(
        self, request: CompletionRequest, headers: dict[str, str] | None = None
    ) -> AsyncGenerator[Delta, None]:
        """Continue a text or token ids as they stand. Raises as `stream`."""
        return self._answers(partial(self._completion_job, request), request, headers)

    async def _answers(
        self,
        build: Callable[[list[Delta | InferenceError]], Awaitable[Job]],
        request: ChatRequest | CompletionRequest,
        headers: dict[str, str] | None,
    ) -> AsyncGenerator[Delta, None]:
        if request.model != self._info.name:
            raise UnknownModelError
        if self._running >= self._most:
            raise QueueFullError
        said: list[Delta | InferenceError] = []
        self._running += 1
        try:
            job = await build(said)
            async with aclosing(self._computed(job, said, request, headers)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self._running -= 1

    async def _computed(
        self,
        job: Job,
        said: list[Delta | InferenceError],
        request: ChatRequest | CompletionRequest,
        headers: dict[str, str] | None,
    ) -> AsyncGenerator[Delta, None]:
        if self._session is None:
            raise ClosedError
        url, body = f"{self._upstream.url.rstrip('/')}/completions", self._body(job, request)
        try:
            posting = self._session.post(url, data=body, headers=(headers or {}) | _JSON, allow_redirects=False)
            async with posting as response:
                if response.status != 200:  # noqa: PLR2004 - OK
                    raise _refused(response.status)
                async for choice in choices(response, job):
                    self._count(job, choice)
                    take(job, choice)
                    taken, said[:] = tuple(said), ()
                    for delta in taken:
                        if isinstance(delta, Delta):
                            yield delta
                            if delta.finish_reason is not None:
                                return
        except (aiohttp.ClientError, OSError, *UNREADABLE) as error:
            raise InferenceError(f"vLLM did not answer as it should ({type(error).__name__}).", retry_after=2) from None
        raise InferenceError("vLLM ended the answer before its end.", retry_after=1)

    def _count(self, job: Job, choice: Choice) -> None:
        """Count what an event says was computed: a prompt is read when its first token comes."""
        if choice.token_ids and not job.generated:
            self._prompt_tokens += len(job.prompt)
        self._rows += len(choice.token_ids or ())

    def _body(self, job: Job, request: ChatRequest | CompletionRequest) -> bytes:
        return msgspec.json.encode(
            {
                "model": self._upstream.model,
                "prompt": job.prompt,
                "max_tokens": job.max_tokens,
                "temperature": request.temperature,
                "top_p": request.top_p,
                "stop_token_ids": sorted(job.stop_ids),
                "ignore_eos": not job.stop_ids,
                "detokenize": False,
                "return_token_ids": True,
                "stream": True,
            }
            | ({"seed": request.seed} if request.seed is not None else {})
        )

    async def _chat_job(self, request: ChatRequest, said: list[Delta | InferenceError]) -> Job:
        tokenizer = self._tokenizer
        found = await asyncio.to_thread(dialogue.read, tokenizer, request, self._context)
        reply: ReplyReader = Reply(tokenizer, request.stop)
        if request.tools:
            reply = ToolReply(tokenizer, request.stop, frozenset(tool.name for tool in request.tools))
        walk = await asyncio.to_thread(self._lexicons.walk, request.forbidden) if request.forbidden else None
        job = self._job(found.ids, request, reply, said)
        job.stop_ids, job.left_out, job.forbidden = self._stop_ids, found.left_out, walk
        return job

    async def _completion_job(self, request: CompletionRequest, said: list[Delta | InferenceError]) -> Job:
        read = partial(dialogue.continued, vocabulary=self._vocabulary, room=self._context)
        ids = await asyncio.to_thread(read, self._tokenizer, request)
        job = self._job(ids, request, Reply(self._tokenizer, request.stop, continued=True), said)
        job.stop_ids = frozenset() if request.ignore_eos else self._stop_ids
        job.token_ids = request.token_ids
        return job

    def _job(
        self,
        ids: list[int],
        request: ChatRequest | CompletionRequest,
        reply: ReplyReader,
        said: list[Delta | InferenceError],
    ) -> Job:
        return Job(
            prompt=ids,
            max_tokens=min(request.max_tokens, self._context - len(ids)),
            sampler=Sampler(request.temperature, request.top_p, request.seed),
            reply=reply,
            deliver=said.append,
            stop_ids=self._stop_ids,
            bias=torch.zeros(0),
        )

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            await self._look()

    async def _look(self) -> None:
        """Note whether vLLM is well, and log when that changes."""
        before, self._healthy = self._healthy, await self._well()
        if self._healthy != before:
            said = "vLLM answers" if self._healthy else "vLLM does not answer"
            LOG.log(logging.INFO if self._healthy else logging.WARNING, said)

    async def _well(self) -> bool:
        if self._session is None:
            return False
        url = self._upstream.url.rstrip("/").removesuffix("/v1") + "/health"
        try:
            async with asyncio.timeout(_CONNECT_S), self._session.get(url, allow_redirects=False) as response:
                return response.status == 200  # noqa: PLR2004 - OK
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


_JSON = {"Content-Type": "application/json"}


def _refused(status: int) -> InferenceError:
    if status in (429, 503):
        return QueueFullError(2)
    return InferenceError(f"vLLM answered {status}.", retry_after=2 if status >= 500 else None)  # noqa: PLR2004
