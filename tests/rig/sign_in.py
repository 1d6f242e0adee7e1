"""A small gateway of nothing but authentication, on a real socket, with a log that the test can read; and a browser."""

import asyncio
import contextlib
import html
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import uvicorn
from litestar import Litestar, get, post
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from audit.keys import FileMasterKey
from audit.ports import AuditUnavailableError
from audit.record import Entry, Receipt
from gateway.auth.access import open_to
from gateway.auth.authentication import Authentication
from gateway.auth.principal import Role
from gateway.database import make_engine
from gateway.http.errors import on_attest_error
from gateway.problems import AttestError
from gateway.settings import Settings, load
from migrations.run import upgrade
from tests.rig.ports import free_port


@dataclass
class RecordingLog:
    """An audit log in memory: these tests are about what is recorded and when, not about how it is kept."""

    entries: list[Entry] = field(default_factory=list)
    broken: bool = False

    async def append(self, *entries: Entry) -> tuple[Receipt, ...]:
        if self.broken:
            raise AuditUnavailableError
        self.entries += entries
        return tuple(Receipt("", "") for _ in entries)

    def kinds(self) -> list[str]:
        return [entry.kind.value for entry in self.entries]


@dataclass
class SmallGateway:
    """A running gateway and the parts that tests look into."""

    settings: Settings
    engine: AsyncEngine
    log: RecordingLog
    authentication: Authentication

    @property
    def url(self) -> str:
        return self.settings.base_url


@get("/secret", **open_to(Role.STAFF))
async def secret() -> dict[str, bool]:
    return {"in": True}


@post("/change", **open_to(Role.STAFF), status_code=200)
async def change() -> dict[str, bool]:
    return {"changed": True}


def application(authentication: Authentication) -> Litestar:
    return Litestar(
        logging_config=None,
        route_handlers=[*authentication.routes, secret, change],
        middleware=[authentication.middleware],
        exception_handlers={AttestError: on_attest_error},
        openapi_config=None,
    )


@contextlib.asynccontextmanager
async def small_gateway(data_dir: Path, **settings: Any) -> AsyncIterator[SmallGateway]:
    """Run one on a free port, with its own SQLite database."""
    chosen = load(**{"port": free_port(), "data_dir": data_dir, **settings})
    engine = make_engine(chosen.database)
    await asyncio.to_thread(upgrade, chosen.database)
    log = RecordingLog()
    master = FileMasterKey.load_or_create(chosen.master_key_path)
    authentication = Authentication.from_settings(chosen, engine, log, master)  # type: ignore[arg-type]
    await authentication.start()
    try:
        async with _serving(application(authentication), chosen.port):
            yield SmallGateway(chosen, engine, log, authentication)
    finally:
        await authentication.close()
        await engine.dispose()


@contextlib.asynccontextmanager
async def _serving(app: Litestar, port: int) -> AsyncIterator[None]:
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listener.close()


@dataclass
class Page:
    """What the browser sees."""

    url: str
    status: int
    body: str
    headers: Any
    path: tuple[str, ...]
    """Every address on the way, redirects included."""


class Browser:
    """As much of a browser as signing in needs: cookies, redirects, forms, meta refresh."""

    def __init__(self, *loopback: str) -> None:
        """`loopback`: addresses that get Secure cookies on plain http, as browsers do it for this computer."""
        jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=[URL(each) for each in loopback] or None)
        self.session = aiohttp.ClientSession(cookie_jar=jar)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def open(
        self, url: str, method: str = "GET", data: dict[str, str] | None = None, *, follow: bool = True
    ) -> Page:
        path = [url]
        headers = {}
        if method != "GET":
            parts = urlsplit(url)
            headers = {"origin": f"{parts.scheme}://{parts.netloc}", "sec-fetch-site": "same-origin"}
        for _ in range(15):
            async with self.session.request(method, url, data=data, allow_redirects=False, headers=headers) as response:
                body = await response.text()
                if follow and response.status in (301, 302, 303, 307) and "location" in response.headers:
                    url = urljoin(url, response.headers["location"])
                    path.append(url)
                    method, data, headers = "GET", None, {}
                    continue
                refresh = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', body)
                if follow and refresh:
                    url = urljoin(url, html.unescape(refresh[1]))
                    path.append(url)
                    method, data, headers = "GET", None, {}
                    continue
                return Page(url, response.status, body, response.headers, tuple(path))
        raise AssertionError("redirected in circles: " + " ".join(path))

    def cookie(self, name: str) -> str:
        return next((each.value for each in self.session.cookie_jar if each.key == name), "")

    def set_cookie(self, gateway: str, name: str, value: str) -> None:
        self.session.cookie_jar.update_cookies({name: value}, URL(gateway))

    async def choose(self, page: Page, person: str, *, follow: bool = True) -> Page:
        """Choose a person on the development provider's page."""
        action = html.unescape(re.search(r'action="([^"]+)"', page.body)[1])  # type: ignore[index]
        return await self.open(urljoin(page.url, action), "POST", {"person": person}, follow=follow)

    async def sign_in(self, gateway: str, person: str, target: str = "/secret") -> Page:
        return await self.choose(await self.open(f"{gateway}/auth/login?next={target}"), person)

    async def me(self, gateway: str) -> Any:
        page = await self.open(f"{gateway}/auth/me")
        return json.loads(page.body) if page.status == 200 else None
