"""axe-core, the accessibility engine: its script from npm, kept in the cache folder."""

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from tests.rig.process import cache_dir, need

VERSION = "4.10.3"


def serious(page: Page, engine: str) -> list[tuple[str, str]]:
    """Return what axe finds serious or critical on a page: the rule, and the first place."""
    page.evaluate(engine)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["nodes"][0]["html"][:200]) for one in bad]


def axe_script() -> str:
    """Return the engine's source: `ATTEST_TEST_AXE` if set, else that of the npm package."""
    given = os.environ.get("ATTEST_TEST_AXE")
    path = Path(given) if given else cache_dir() / f"axe-core-{VERSION}.min.js"
    if not path.exists():
        need("npm")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["npm", "pack", "--silent", f"axe-core@{VERSION}"], cwd=folder, check=True, timeout=240)
            with tarfile.open(Path(folder) / f"axe-core-{VERSION}.tgz") as package:
                file = package.extractfile("package/axe.min.js")
                assert file is not None
                path.write_bytes(file.read())
    return path.read_text()
