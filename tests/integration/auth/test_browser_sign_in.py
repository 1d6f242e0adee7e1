"""Sign-in in a real Chromium: what only a browser enforces (Secure cookies, SameSite, form-action, keyboard)."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import Page, async_playwright

from tests.rig.keycloak import CLIENT_SECRET, PASSWORD, Keycloak
from tests.rig.process import unavailable
from tests.rig.sign_in import small_gateway

pytestmark = pytest.mark.slow
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SUBMIT_SIGN_OUT = """() => {
    const form = document.createElement('form');
    form.method = 'post';
    form.action = '/auth/logout';
    document.body.append(form);
    form.submit();
}"""


@pytest.fixture
async def chromium() -> AsyncIterator[Chromium]:
    path = shutil.which("chromium")
    if path is None:
        unavailable("not installed: chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


async def sign_out(page: Page, gateway: str) -> None:
    """Send the form from a page whose policy lets forms go to its own host only."""
    await page.goto(f"{gateway}/auth/callback")
    await page.evaluate(SUBMIT_SIGN_OUT)
    await page.wait_for_url("**/auth/signed-out*")


@pytest.mark.parametrize(("locale", "title"), [("en-GB", "Choose a person"), ("zh-CN", "选择登录身份")])
async def test_the_development_provider_by_keyboard(
    chromium: Chromium, tmp_path: Path, locale: str, title: str
) -> None:
    async with small_gateway(tmp_path) as gateway:
        page = await (await chromium.new_context(locale=locale)).new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        # by its other name: cookies would be lost on the way back if the gateway did not lead to its own address first
        await page.goto(gateway.url.replace("127.0.0.1", "localhost") + "/auth/login?next=/secret")
        assert title in (await page.inner_text("h1"))
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/secret")
        await page.goto(f"{gateway.url}/auth/me")
        assert '"carol"' in await page.inner_text("body")
        await sign_out(page, gateway.url)
        assert gateway.log.kinds() == ["login", "login.failed", "logout"]
        assert not [each for each in complaints if "Content Security Policy" in each]


async def test_sign_in_and_out_at_keycloak(chromium: Chromium, tmp_path: Path, real_keycloak: Keycloak) -> None:
    await asyncio.to_thread(real_keycloak.new_user, "bruno", ["/staff"])
    settings = {
        "port": real_keycloak.gateway_port,
        "oidc_issuer": real_keycloak.issuer,
        "oidc_client_secret": CLIENT_SECRET,
    }
    async with small_gateway(tmp_path, **settings) as gateway:
        page = await (await chromium.new_context()).new_page()
        await page.goto(f"{gateway.url}/auth/login?next=/secret")
        await page.fill("#username", "bruno")
        await page.fill("#password", PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/secret")
        assert await asyncio.to_thread(real_keycloak.user_sessions, "bruno") == 1
        await sign_out(page, gateway.url)
        assert await asyncio.to_thread(real_keycloak.user_sessions, "bruno") == 0
        await page.goto(f"{gateway.url}/auth/login")
        assert await page.locator("#password").count() == 1
