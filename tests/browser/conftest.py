"""The real product and a real Chromium: every page is watched for errors, violations and requests to other hosts."""

import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Cookie, Page, expect, sync_playwright

from tests.browser.script import SCRIPT
from tests.rig.keycloak import PASSWORD
from tests.rig.process import unavailable
from tests.rig.product import Product, running_product

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK, PHONE = (1280, 860), (390, 780)
expect.set_options(timeout=15_000)  # a machine on which other tests and servers run


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with running_product(tmp_path_factory.mktemp("product"), SCRIPT) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Per module: Playwright keeps an event loop running in this thread, and asynchronous tests follow."""
    program = shutil.which("chromium")
    if program is None:
        unavailable("not installed: chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


Sessions = dict[tuple[str, str], list[Cookie]]
"""Address of a product and name of a person → the cookie of a session there."""


@pytest.fixture(scope="session")
def sessions() -> Sessions:
    """Sessions of the people who signed in before: most tests are about something else."""
    return {}


class Watched:
    """One person's page, with everything that must not happen on it."""

    def __init__(self, page: Page, url: str, sessions: Sessions, provider: str = "") -> None:
        """`provider`: address of an identity provider, whose own pages are not looked at."""
        self.page, self.url, self._sessions = page, url, sessions
        self.provider = provider or url
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.expected: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)
        page.on("dialog", lambda dialog: (self.errors.append("dialog"), dialog.dismiss()))

    def _said(self, message) -> None:
        of_provider = self.provider != self.url and message.location["url"].startswith(self.provider)
        if message.type in ("error", "warning") and not of_provider:
            self.errors.append(message.text)

    def _note(self, request) -> None:
        known = request.url.startswith((self.url, self.provider))
        if urlsplit(request.url).scheme in ("http", "https") and not known:
            self.outside.append(request.url)

    def sign_in(self, name: str = "alice", path: str = "/") -> Page:
        """Come in by the session of another test, where that has not ended."""
        self.page.context.add_cookies(self._sessions.get((self.url, name), []))
        self.page.goto(self.url + path)
        if self.page.locator('button[name="person"]').count():
            self.page.click(f'button[name="person"][value="{name}"]')
        self.page.wait_for_selector("body[data-ready]")
        self._sessions[self.url, name] = [one for one in self.page.context.cookies() if one["name"] == "attest"]
        return self.page

    def sign_in_at_keycloak(self, name: str, path: str = "/") -> Page:
        self.page.goto(f"{self.url}/auth/login?next={path}")
        self.page.fill("#username", name)
        self.page.fill("#password", PASSWORD)
        self.page.click("#kc-login")
        self.page.wait_for_selector("body[data-ready]")
        return self.page

    def say(self, text: str, *, wait: bool = True) -> None:
        self.page.fill("#draft", text)
        self.page.press("#draft", "Enter")
        if wait:
            self.settled()

    def settled(self) -> None:
        self.page.wait_for_selector(".message-answer:last-of-type .answer-tools", timeout=20_000)
        self.page.wait_for_selector("#stop", state="hidden")

    def check(self) -> None:
        assert self.outside == []
        assert [e for e in self.errors if not any(known in e for known in self.expected)] == []


Open = Callable[..., Watched]


@pytest.fixture
def open_page(browser: Browser, product: Product, sessions: Sessions) -> Iterator[Open]:
    opened: list[Watched] = []

    def make(
        language: str = "en-US", scheme: str = "light", size: tuple[int, int] = DESK, provider: str = "", **options
    ) -> Watched:
        context = browser.new_context(
            locale=language,
            color_scheme=scheme,
            viewport={"width": size[0], "height": size[1]},
            **({"has_touch": True, "is_mobile": True} if size == PHONE else {}),
            **options,
        )
        context.set_default_timeout(15_000)
        watched = Watched(context.new_page(), product.url, sessions, provider)
        opened.append(watched)
        return watched

    yield make
    for watched in opened:
        watched.page.context.close()
        watched.check()
