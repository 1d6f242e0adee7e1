"""What a browser gets before a page is there: at most 150 KB over the wire, the first time."""

import gzip
import re
from pathlib import PurePosixPath

import pytest
from litestar.testing import AsyncTestClient

from gateway.web.assets import load_assets
from gateway.web.pages import TEMPLATES

MOST_BYTES = 150_000
ROOM_FOR_HTML = 90_000
"""What a page of fifty turns with its facets takes, not compressed; measured in docs/benchmarks.md."""
IMPORT = re.compile(rb'^\s*(?:import|export)[^"]*"(\./[^"]+)"', re.MULTILINE)


def over_the_wire(names: set[str]) -> int:
    """Bytes of some static files and of every module that they import."""
    files, waiting, seen = load_assets().files, list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            folder = PurePosixPath(name).parent
            waiting += [str(folder / found.decode()) for found in IMPORT.findall(files[name].body)]
    return sum(len(files[name].compressed) for name in seen)


def linked(html: str) -> set[str]:
    return {name for name in re.findall(r'/static/[0-9a-f]+/([\w./-]+)"', html) if not name.endswith(".svg")}


async def test_the_chat_page_with_all_it_loads(page: AsyncTestClient):
    answer = await page.get("/", headers={"accept": "text/html"})
    assert answer.status_code == 200
    names = linked(answer.text)
    assert {"css/chat.css", "js/app.js"} <= names
    assert len(answer.content) + over_the_wire(names) <= MOST_BYTES


@pytest.mark.parametrize("template", ["console/base.html", "base.html"])
def test_the_consoles_files_leave_room_for_its_pages(template: str):
    asked = set(re.findall(r"static\('([^']+)'\)", (TEMPLATES / template).read_text()))
    names = {name for name in asked if not name.endswith(".svg")}
    assert names
    base = set(re.findall(r"static\('([^']+)'\)", (TEMPLATES / "base.html").read_text()))
    both = {name for name in names | base if not name.endswith(".svg")}
    assert over_the_wire(both) <= MOST_BYTES - ROOM_FOR_HTML


def test_static_files_go_compressed():
    for name, asset in load_assets().files.items():
        assert gzip.decompress(asset.compressed) == asset.body, name
