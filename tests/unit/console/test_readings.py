"""What officers looked for, as the list of accesses tells it."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from audit.record import Entry, Kind
from gateway.console.readings import DETAILS, Telling
from gateway.settings import Settings
from gateway.web.catalogue import load_catalogues
from gateway.web.pages import View, make_pages


def told(tmp_path: Path, language: str, **detail: str | float | bool) -> dict[str, str]:
    pages = make_pages(Settings(data_dir=tmp_path), lambda rule, _: "Mobile number" if rule == "p.cn" else "")
    view = View(pages, pages.catalogues[language], "auto", None, "", "/", ZoneInfo("Asia/Shanghai"))
    record = Entry(kind=Kind.ACCESS_SEARCH, at=datetime.now(UTC), subject="carol", detail=detail)
    return Telling(view).about(record)["detail"]


def test_a_search_says_what_for(tmp_path: Path):
    asked = {"category": "hate", "verdict": "block", "rule": "p.cn", "since": "2026-11-22T06:00:00+00:00", "results": 3}
    assert list(told(tmp_path, "en", **asked).items()) == [
        ("verdict", "Blocked"), ("category", "Hate"), ("rule", "Mobile number"), ("since", "2026-11-22 14:00"),
        ("results", "3"),
    ]  # fmt: skip
    said = told(tmp_path, "zh-CN", what="security", content=True, state="broken_off")
    assert said == {"what": "安全", "content": "是", "state": "中断"}


@pytest.mark.parametrize("name", ["verdict", "category", "rule", "role", "what", "since"])
def test_what_nobody_knows_is_shown_without_hidden_characters(tmp_path: Path, name: str):
    assert told(tmp_path, "en", **{name: "x\u202e{y}"}) == {name: "x[U+202E]{y}"}


def test_every_detail_has_a_word():
    assert [name for name in DETAILS if not load_catalogues()["en"].has(f"console.detail.{name}")] == []
