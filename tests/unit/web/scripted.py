"""The page's routes over a real history and a scripted turn service: what a turn says is written in the test."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware
from litestar.testing import AsyncTestClient
from litestar.types import ASGIApp, Receive, Scope, Send

from audit.ports import AuditUnavailableError
from audit.record import Entry, Receipt
from gateway.auth.access import check_access
from gateway.auth.principal import Principal, Role
from gateway.database import make_engine
from gateway.history.store import HistoryStore
from gateway.history.tables import metadata
from gateway.http.chat import chat_routes
from gateway.http.chat_turns import chat_turn_routes
from gateway.http.errors import on_any_exception, on_attest_error, on_http_exception
from gateway.identifiers import uuid7
from gateway.problems import AttestError
from gateway.settings import Settings
from gateway.turn_events import Outcome, TextReleased, TurnEnded, TurnEvent, TurnRequest, TurnStarted
from gateway.web.assets import asset_routes
from gateway.web.headers import SecurityHeaders
from gateway.web.pages import make_pages
from inference.ports import Usage

ALICE = Principal("alice", "Alice Zhang", ("staff",), frozenset({Role.STAFF}), session=True)
BOB = Principal("bob", "Bob", ("staff",), frozenset({Role.STAFF}), session=True)
SAM = Principal("sam", "Sam", ("security",), frozenset({Role.SECURITY}), session=True)
PEOPLE = {person.subject: person for person in (ALICE, BOB, SAM)}

Step = TurnEvent | AttestError | float
"""An event, an error to raise, or seconds to wait."""


def started(turn_id: str, **fields: Any) -> TurnStarted:
    return TurnStarted(turn_id, **fields)


def completed(turn_id: str, **fields: Any) -> TurnEnded:
    usage = Usage(prompt_tokens=12, completion_tokens=34)
    return TurnEnded(
        turn_id=turn_id, outcome=Outcome.COMPLETED, finish_reason="stop", usage=usage, duration_ms=1234, **fields
    )


def blocked(turn_id: str, reason: str = "input_blocked", **fields: Any) -> TurnEnded:
    values = {"categories": ("prompt_attack",), "rules": ("attack.override",)} | fields
    return TurnEnded(turn_id=turn_id, outcome=Outcome.BLOCKED, reason=reason, finish_reason="content_filter", **values)


def answering(*texts: str) -> Callable[[TurnRequest], list[Step]]:
    def script(_: TurnRequest) -> list[Step]:
        turn_id = uuid7()
        return [started(turn_id), *(TextReleased(text) for text in texts), completed(turn_id)]

    return script


class ScriptedTurns:
    """Plays a script for each request and remembers the requests."""

    def __init__(self) -> None:
        self.script: Callable[[TurnRequest], Iterable[Step]] = answering("Hello.")
        self.requests: list[TurnRequest] = []
        self.closed_early = 0
        self.closings: set[asyncio.Task[None]] = set()

    async def run(self, request: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        self.requests.append(request)
        whole = False
        try:
            for step in self.script(request):
                if isinstance(step, AttestError):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
            whole = True
        finally:
            self.closed_early += not whole


class OneModel:
    tokens = 0

    async def resolve(self, name: str) -> str:
        return name or "scripted"

    def context(self, _: str) -> int:
        return self.tokens


class MemoryAudit:
    """Takes entries, or refuses them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.down = False

    async def append(self, *entries: Entry) -> tuple[Receipt, ...]:
        if self.down:
            raise AuditUnavailableError
        self.entries += entries
        return tuple(Receipt("1", "00") for _ in entries)


class WhoeverTheHeaderNames(ASGIMiddleware):
    """Signs in the person that `x-test-person` (or the cookie of that name) names; Alice by default."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        headers = dict(scope["headers"])
        name = headers.get(b"x-test-person", b"alice").decode()
        scope["user"] = PEOPLE.get(name)
        check_access(scope, scope["user"])
        await next_app(scope, receive, send)


def make_app(folder: Path, turns: ScriptedTurns, audit: MemoryAudit, **settings: object) -> Litestar:
    chosen = Settings(data_dir=folder, **settings)  # type: ignore[arg-type]
    engine = make_engine(f"sqlite+aiosqlite:///{folder}/history.db")

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        yield
        await engine.dispose()

    pages = make_pages(chosen, lambda _, language: {"en": "Override attempt", "zh-CN": "越权尝试"}[language])
    parts = {
        "turns": turns,
        "catalogue": OneModel(),
        "history": HistoryStore(engine),
        "audit": audit,
        "reviews": None,  # tests/integration/test_review.py has the real one
        "settings": chosen,
        "pages": pages,
        "assets": pages.assets,
    }
    return Litestar(
        route_handlers=[*chat_routes, *chat_turn_routes, *asset_routes],
        middleware=[WhoeverTheHeaderNames()],
        before_send=[SecurityHeaders(chosen).add],
        dependencies={name: Provide(_giver(part), sync_to_thread=False) for name, part in parts.items()},
        exception_handlers={
            AttestError: on_attest_error,
            HTTPException: on_http_exception,
            Exception: on_any_exception,
        },
        lifespan=[lifespan],
        state=State({"pages": pages}),
        openapi_config=None,
        logging_config=None,
    )


def _giver(part: object) -> Callable[[], object]:
    return lambda: part


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def say(page: AsyncTestClient, conversation_id: str, text: str = "hi", **body: object):
    return await page.post(f"/chat/{conversation_id}/turns", json={"text": text} | body)
