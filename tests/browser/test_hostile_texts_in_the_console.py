"""Hostile turns in the console, in a real browser: they run nothing, hide nothing and leave the page usable."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import expect

from audit.keys import FileMasterKey
from audit.log import SqlAuditLog
from gateway.database import make_engine
from tests.browser.conftest import Open
from tests.browser.officer import ask, enter, new_case
from tests.contract.audit.turns import accepted, completed
from tests.rig.product import Product


def stored(product: Product, question: str, answer: str, subject: str) -> str:
    """Put a turn into the product's log as it is, past every limit of a request; return its id."""
    turn = str(uuid.uuid4())

    async def append() -> None:
        engine = make_engine(f"sqlite+aiosqlite:///{product.data_dir.resolve()}/attest.db")
        async with SqlAuditLog(engine, FileMasterKey.load(product.data_dir / "master.key")) as log:
            await log.append(
                accepted(turn, question, ("before " + question,), subject=subject),
                completed(answer, turn, subject=subject),
            )
        await engine.dispose()

    with ThreadPoolExecutor(1) as apart:  # Playwright keeps an event loop running in this thread
        apart.submit(asyncio.run, append()).result()
    return turn


def test_a_line_of_a_million_characters_leaves_the_page_usable(open_page: Open, product: Product):
    hostile = "<script>document.title='pwned'</script>\u202egpj.exe\u2066<img src=x onerror=alert(1)>"
    line = (hostile + "A" * (1_000_000 - 2 * len(hostile))) + hostile
    turn = stored(product, line, "汉" * 500_000 + hostile, "mallory")
    officer = open_page()
    page = enter(officer, "carol")
    page.context.set_default_timeout(60_000)
    new_case(page, product.url, "HR-2026-20")
    answer = page.goto(f"{product.url}/console/turns/{turn}")
    assert answer is not None
    assert len(answer.body()) < 600_000, "a page shows a bounded part of a text"
    expect(page.locator(".verbatim").first).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator(".verbatim .unseen", has_text="U+202E").first).to_be_visible()
    expect(page.locator("main")).to_contain_text("980000 more characters")
    kerning = page.evaluate(
        "['.verbatim', '.bubble'].map((e) => getComputedStyle(document.querySelector(e)).fontKerning)"
    )
    assert kerning == ["none", "none"], "with kerning, Chromium needs six seconds for this page"
    page.click("main details.before summary")
    page.click('.sheet-tools button:has-text("Collect")')
    expect(page.locator("#turns + .table-box tbody tr")).to_have_count(1)
    for path in (f"/console/turns/{turn}", page.url.removeprefix(product.url).partition("?")[0] + "/report"):
        page.goto(product.url + path)
        assert "pwned" not in page.title()
        assert page.locator("main").locator("script, img, iframe").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click(".rail a[href='/console/search']")
    expect(page.locator("h1")).to_have_text("Search")


def test_hostile_turns_run_nothing_and_hide_nothing(open_page: Open, product: Product):
    assert (
        ask(product, "be hostile <img src=x onerror=\"document.title='pwned'\"> photo\u202egpj.exe \u200bzero", "sam")
        == 200
    )
    assert ask(product, "be hostile " + "A<b>" * 6000, "sam") == 200
    officer = open_page()
    page = enter(officer, "carol")
    new_case(page, product.url, "HR-2026-18")
    page.goto(f"{product.url}/console/search?subject=sam&order=oldest")
    addresses = [link.get_attribute("href") for link in page.locator("tbody tr td:nth-child(2) a").all()]
    assert len(addresses) == 2
    for address in addresses:
        page.goto(product.url + str(address))
        expect(page.locator(".verbatim").first).to_contain_text("be hostile")
        main = page.locator("main")
        assert main.locator("script, img, iframe, style, base, meta, .verbatim form, .seen form").count() == 0
        assert "pwned" not in page.title()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(product.url + str(addresses[0]))
    expect(page.locator(".verbatim .unseen", has_text="U+202E").first).to_be_visible()
    expect(page.locator(".verbatim .unseen", has_text="U+200B").first).to_be_visible()
