"""An HTTP proxy before a real server that a test tells to fail: to answer 429 or 503, to hang up, to be slow, to refuse
some of the documents of a bulk request, to lose the answer after the server has done its work. Optionally with TLS."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

_OWN = {"host", "accept-encoding", "content-length"}
HANG_UP, LOSE_ANSWER = -1, -2
Fault = Callable[[int, str], int | None]
"""Number of the request and its path → a status to answer with, `HANG_UP`, `LOSE_ANSWER`, or None for no fault."""
Stand = Callable[[str, str, bytes], tuple[int, dict[str, Any]] | bytes]
"""Method, path and body → status and object to answer with in the server's place, or the body that the server gets."""


class FaultyProxy:
    """`async with FaultyProxy(url) as proxy`; then set `fault`, `spoil`, `stand` and `delay_s` as the test goes."""

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        self.fault: Fault = lambda _number, _path: None
        self.spoil: Callable[[int, dict[str, Any]], dict[str, Any] | None] = lambda _nth, _item: None
        """Place and item of a bulk answer → what the client is told instead; the server never sees that document."""
        self.change: Callable[[str, dict[str, Any]], None] | None = None
        """Path and JSON object of an answer, changed before the client gets it."""
        self.stand: Stand = lambda _method, _path, body: body
        self.delay_s = 0.0
        self.is_elasticsearch = True
        """Whether answers carry the header by which clients know the product."""
        self.headers: list[dict[str, str]] = []
        self.answered: Counter[int] = Counter()
        self._target = target
        self._tls = tls
        self._number = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=2**28)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self._number += 1
        self.headers.append(dict(request.headers))
        body = await request.read()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        fault = self.fault(self._number, request.path)
        if fault == HANG_UP:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault is not None and fault > 0:
            self.answered[fault] += 1
            return web.json_response(
                {"error": {"type": "injected"}, "status": fault},
                status=fault,
                headers={"X-Elastic-Product": "Elasticsearch"},
            )
        if request.path.endswith("/_bulk"):
            return await self._bulk(request, body, fault)
        instead = self.stand(request.method, request.path, body)
        if isinstance(instead, tuple):
            return web.json_response(instead[1], status=instead[0], headers={"X-Elastic-Product": "Elasticsearch"})
        body = instead
        return await self._forward(request, body)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        headers["accept-encoding"] = "identity"
        async with self._http.request(
            request.method, self._target + request.raw_path, data=body, headers=headers
        ) as got:
            kept = {
                name: value
                for name, value in got.headers.items()
                if name.lower() in {"content-type", "x-elastic-product"}
            }
            self.answered[got.status] += 1
            if not self.is_elasticsearch:
                kept = {name: value for name, value in kept.items() if name.lower() != "x-elastic-product"}
            return web.Response(body=self._changed(request.path, await got.read()), status=got.status, headers=kept)

    def _changed(self, path: str, body: bytes) -> bytes:
        if self.change is None:
            return body
        answer = json.loads(body)
        self.change(path, answer)
        return json.dumps(answer).encode()

    async def _bulk(self, request: web.Request, body: bytes, fault: int | None) -> web.Response:
        lines = body.splitlines()
        pairs = list(zip(lines[::2], lines[1::2], strict=True))
        spoilt = {nth: self.spoil(nth, json.loads(pair[1])) for nth, pair in enumerate(pairs)}
        kept = [pair for nth, pair in enumerate(pairs) if spoilt[nth] is None]
        answer = (
            await self._forward(request, b"".join(line + b"\n" for pair in kept for line in pair)) if kept else None
        )
        if fault == LOSE_ANSWER:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer is not None and (len(kept) == len(pairs) or answer.status != 200):
            return answer
        there = iter(json.loads(bytes(answer.body))["items"]) if answer is not None else iter(())  # type: ignore[arg-type]
        items = [spoilt[nth] or next(there) for nth in range(len(pairs))]
        return web.json_response({"errors": True, "items": items}, headers={"X-Elastic-Product": "Elasticsearch"})
