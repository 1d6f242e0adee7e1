"""The client over any OpenAI-compatible endpoint: a `ChatModel` that lives behind HTTP.

The endpoint is not trusted: lines, answers, silence and total time are bounded, and none of its words reach a message
of ours. Needs no torch.
"""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from inference import wire_client as wire
from inference.errors import ContextOverflowError, RequestRefusedError
from inference.openai_reading import AnswerReader, sent
from inference.ports import ChatRequest, Delta, InferenceError, ModelInfo
from inference.sse import EventParser, EventTooLargeError

_OK = 200
_BAD_REQUEST = 400
_TOO_MANY = 429
_REFUSALS = frozenset({400, 404, 405, 413, 415, 422})
_SAFE_CODE = re.compile(r"[a-z0-9_.-]{1,64}")
_EOF_WAIT_S = 0.02
_LONGEST_RETRY_S = 3600
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding JSON of others ends in, where it is none, none of ours, or nested without end."""

_encode = msgspec.json.Encoder().encode
_decode_models = msgspec.json.Decoder(wire.ReceivedModels).decode
_decode_error = msgspec.json.Decoder(wire.ReceivedErrorBody).decode


@dataclass(frozen=True)
class Bounds:
    """What one answer of the endpoint may cost us."""

    silence_s: float = 120.0
    """Longest time without an event; comments and empty lines do not count as one."""
    total_s: float = 1800.0
    """Longest answer, in seconds."""
    connect_s: float = 10.0
    event_bytes: int = 256 * 1024
    """Largest event, and largest body of an error or of the list of models."""
    answer_bytes: int = 32 * 2**20
    """Most bytes of one streamed answer."""


class OpenAICompatModel:
    """Asks an endpoint such as `http://host:port/v1`. One object per process: it keeps connections open.

    Create it anywhere, use it in one event loop, and `await close()` at the end.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        bounds: Bounds | None = None,
        connections: int = 1024,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        base = base_url.rstrip("/")
        self._chat_url = URL(f"{base}/chat/completions")
        self._models_url = URL(f"{base}/models")
        self._bounds = bounds or Bounds()
        self._connections = connections
        self._tls = tls
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections. Running streams end with `InferenceError`."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the models on offer. Raises `InferenceError` when the endpoint is not ready."""
        deadline = min(self._bounds.silence_s, self._bounds.connect_s)
        try:
            async with (
                asyncio.timeout(deadline),
                self._opened().get(self._models_url, headers=self._headers, allow_redirects=False) as response,
            ):
                await self._check(response)
                found = _decode_models(await _body(response, self._bounds.event_bytes))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from None
        except _UNREADABLE:
            raise InferenceError("The inference endpoint's list of models cannot be read.") from None
        return tuple(_info(model) for model in found.data)

    async def stream(self, request: ChatRequest, headers: dict[str, str] | None = None) -> AsyncGenerator[Delta, None]:
        """Yield the answer in stretches. Closing the iterator closes the connection, which cancels the generation.

        Raises `RequestRefusedError` when the request is at fault, else `InferenceError`.
        """
        response = await self._answer(_encode(sent(request)), headers)
        reading = AnswerReader(tools=bool(request.tools))
        complete = False
        try:
            async with aclosing(self._deltas(response, reading)) as deltas:
                async for delta in deltas:
                    complete = delta.finish_reason is not None
                    yield delta
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from None
        except EventTooLargeError:
            raise InferenceError("The inference endpoint sent more than it may.") from None
        except _UNREADABLE:
            raise InferenceError("The inference endpoint sent an event that cannot be read.") from None
        finally:
            try:
                if complete:
                    await _finish(response)
            finally:
                # After a complete answer the connection is back in the pool and this does nothing; else it closes the
                # connection, which is how the endpoint learns that nobody waits any more.
                response.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            bounds = self._bounds
            self._session = aiohttp.ClientSession(
                # Kept shorter than the idle limit of common servers (uvicorn: 5 s), so that a request seldom meets
                # a connection that its server is just closing.
                connector=aiohttp.TCPConnector(
                    limit=self._connections, keepalive_timeout=4.0, ssl=self._tls if self._tls is not None else True
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=bounds.connect_s, sock_read=bounds.silence_s, connect=bounds.silence_s
                ),
                trust_env=False,
            )
        return self._session

    async def _answer(self, body: bytes, headers: dict[str, str] | None) -> aiohttp.ClientResponse:
        all_headers: CIMultiDict[str] = CIMultiDict(self._headers)
        all_headers.update(headers or {})
        try:
            response = await self._post(body, all_headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from None
        try:
            await self._check(response)
        except BaseException:
            response.close()
            raise
        return response

    async def _post(self, body: bytes, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        session = self._opened()
        try:
            return await session.post(self._chat_url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise
            # The endpoint closed an idle connection while the request was under way. Asking again is safe: an answer
            # that nobody read has no effect.
            return await session.post(self._chat_url, data=body, headers=headers, allow_redirects=False)

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status == _OK:
            return
        error = wire.ReceivedError()
        try:
            async with asyncio.timeout(self._bounds.connect_s):
                error = _decode_error(await _body(response, self._bounds.event_bytes)).error or error
        except (aiohttp.ClientError, TimeoutError, OSError, InferenceError, *_UNREADABLE):
            pass  # the status alone says enough
        code = error.code if isinstance(error.code, str) and _SAFE_CODE.fullmatch(error.code) else "refused"
        param = error.param if error.param and _SAFE_CODE.fullmatch(error.param) else None
        if code == "context_length_exceeded":
            raise ContextOverflowError("The messages are longer than the model's context.")
        if response.status in _REFUSALS:
            raise RequestRefusedError(
                f"The inference endpoint refused the request ({response.status} {code}).",
                code=code,
                param=param,
                status=response.status,
            )
        raise InferenceError(
            f"The inference endpoint answered {response.status} ({code}).", retry_after=_retry_after(response)
        )

    async def _deltas(self, response: aiohttp.ClientResponse, end: AnswerReader) -> AsyncGenerator[Delta, None]:
        bounds = self._bounds
        parser = EventParser(bounds.event_bytes)
        last = started = time.monotonic()
        received = 0
        while not end.done and (chunk := await response.content.readany()):
            received += len(chunk)
            if received > bounds.answer_bytes:
                raise EventTooLargeError
            for event in parser.feed(chunk):
                last = time.monotonic()
                if text := end.take(event):
                    yield Delta(text=text, revision=end.revision, lexicon=end.lexicon, stopped_by=end.stopped_by)
            now = time.monotonic()
            if now - last > bounds.silence_s or now - started > bounds.total_s:
                raise TimeoutError
        if end.finish is None:
            raise InferenceError("The inference endpoint ended the answer before its end.", retry_after=1)
        yield end.delta()


async def _finish(response: aiohttp.ClientResponse) -> None:
    """Give the connection back if the answer has ended; its end may still be on the way, so wait a moment for it."""
    try:
        async with asyncio.timeout(_EOF_WAIT_S):
            if not response.content.at_eof() and await response.content.readany():
                return
        response.release()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return


def _info(model: wire.ReceivedModel) -> ModelInfo:
    version = model.attest or wire.ReceivedVersion()
    return ModelInfo(
        name=model.id,
        revision=model.revision,
        model=version.model,
        stage=version.stage,
        percent=version.percent,
        groups=version.groups,
        stops_words=model.stops_words,
        context=model.max_model_len or 0,
    )


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    found = bytearray()
    while chunk := await response.content.readany():
        found += chunk
        if len(found) > limit:
            raise InferenceError("The inference endpoint sent more than it may.")
    return bytes(found)


def _retry_after(response: aiohttp.ClientResponse) -> int | None:
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return max(1, min(int(value[:9]), _LONGEST_RETRY_S))
    return 1 if response.status in {_TOO_MANY, 502, 503, 504} else None


def _unreachable(error: BaseException) -> InferenceError:
    if isinstance(error, TimeoutError):
        return InferenceError("The inference endpoint was silent for too long.", retry_after=5)
    return InferenceError(f"The inference endpoint cannot be reached ({type(error).__name__}).", retry_after=2)
