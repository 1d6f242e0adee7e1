"""Steps of officers in the console that more than one walk takes."""

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, expect

VERIFIER = Path(__file__).parents[2] / "audit" / "verify.py"


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
