"""Steps of officers in the console that more than one walk takes."""

import subprocess
import sys
import urllib.error
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Watched
from tests.integration.client import post
from tests.rig.product import Product

VERIFIER = Path(__file__).parents[2] / "audit" / "verify.py"


def ask(product: Product, text: str, who: str = "alice", token: str = "") -> int:
    """Ask on the API; return the status."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with post(product, "/v1/chat/completions", body, "" if token else who, timeout=120, **headers) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def enter(officer: Watched, name: str) -> Page:
    """Sign in to the console."""
    page = officer.sign_in(name, "/console")
    page.wait_for_load_state()
    return page


def new_case(page: Page, url: str, number: str) -> None:
    """Open a case and stay on its page."""
    page.goto(f"{url}/console/cases")
    page.fill("input[name=number]", number)
    page.fill("input[name=purpose]", "A complaint about an answer")
    page.click("form.panel button")
    expect(page.locator("h1")).to_contain_text(number)


def hold(page: Page) -> None:
    """Place a hold for litigation from a case's page."""
    page.fill("input[name=reason]", "litigation")
    page.click("form[action$='/holds'] button")
    expect(page.locator(".said")).to_contain_text("The hold is in force")


def export_and_verify(page: Page, folder: Path) -> None:
    """Export a case with its texts as a bundle, and verify that where nothing of Attest is imported."""
    page.click(".export summary")
    page.select_option("select[name=format]", "bundle")
    page.check("input[name=content]")
    with page.expect_download() as download:
        page.click(".export button")
    bundle = folder / "bundle.zip"
    download.value.save_as(bundle)
    done = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(bundle)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def grant(page: Page, url: str) -> None:
    """Agree, as the second officer, to the one request that waits."""
    page.goto(f"{url}/console/approvals")
    expect(page.locator("form.decide")).to_have_count(1)
    page.click('form.decide button[value="approved"]')
    expect(page.locator("form.decide")).to_have_count(0)
