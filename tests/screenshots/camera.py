"""One person's browser, and pictures of what it shows: small WebP files, as high as the page."""

import base64
from pathlib import Path

from playwright.sync_api import Browser, Error, Page

from tests.screenshots.pictures import LANGUAGES

WIDTH, HEIGHT, HIGHEST = 1280, 820, 1250
PHONE = (390, 780)
MOST_BYTES = 60_000
TRIES = 5
QUALITIES = (72, 60, 48, 36)
ZONES = dict(zip(LANGUAGES, ("Europe/Berlin", "Asia/Shanghai"), strict=True))
LOCALES = dict(zip(LANGUAGES, ("en-GB", "zh-CN"), strict=True))


class PageError(Exception):
    """A page that nobody would show: it answered with an error."""


class Camera:
    """Signs in, walks, takes pictures into a folder."""

    def __init__(self, browser: Browser, url: str, folder: Path, language: str, *, phone: bool = False) -> None:
        width, height = PHONE if phone else (WIDTH, HEIGHT)
        context = browser.new_context(
            locale=LOCALES[language],
            timezone_id=ZONES[language],
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
            **({"has_touch": True, "is_mobile": True} if phone else {}),
        )
        context.set_default_timeout(60_000)
        self.page: Page = context.new_page()
        self._session = context.new_cdp_session(self.page)
        self._url, self._folder, self._language = url, folder, language

    def sign_in(self, name: str, path: str = "/") -> None:
        """Come in as one of the development provider's people."""
        self.page.goto(self._url + path)
        self.page.click(f'button[name="person"][value="{name}"]')
        self.page.wait_for_selector("body[data-ready]")

    def go(self, path: str) -> None:
        """Open a page. Raises `PageError`."""
        answer = self.page.goto(self._url + path)
        if answer is None or answer.status != 200:
            raise PageError(f"{path}: {answer and answer.status}")
        self.page.wait_for_load_state("networkidle")

    def dark(self) -> None:
        """Choose dark colours from now on."""
        self.page.emulate_media(color_scheme="dark")

    def take(self, name: str, *, whole: bool = True) -> None:
        """Write a picture of what is shown; of the whole page, up to `HIGHEST` pixels."""
        size = self.page.viewport_size
        assert size is not None
        if whole:
            height = int(self.page.evaluate("document.documentElement.scrollHeight"))
            self.page.set_viewport_size({"width": size["width"], "height": max(size["height"], min(height, HIGHEST))})
        self.page.wait_for_timeout(150)
        for quality in QUALITIES:
            data = self._captured(quality)
            if len(data) <= MOST_BYTES:
                break
        (self._folder / f"{name}.{self._language}.webp").write_bytes(data)
        self.page.set_viewport_size(size)

    def _captured(self, quality: int) -> bytes:
        """Return a picture; a browser on a busy machine may need more than one try."""
        for left in reversed(range(TRIES)):
            try:
                shot = self._session.send("Page.captureScreenshot", {"format": "webp", "quality": quality})
                return base64.b64decode(shot["data"])
            except Error:
                if not left:
                    raise
                self.page.wait_for_timeout(1000)
        raise AssertionError

    def say(self, text: str) -> str:
        """Send a message in the chat, wait for the end of the answer, and return the turn's id."""
        self.page.fill("#draft", text)
        self.page.press("#draft", "Enter")
        self.page.wait_for_selector("#stop", state="hidden")
        last = self.page.locator(".message-answer").last
        last.locator(".answer-tools").wait_for()
        return str(last.locator(".facts code").text_content())

    def close(self) -> None:
        """Close this person's browser."""
        self.page.context.close()
