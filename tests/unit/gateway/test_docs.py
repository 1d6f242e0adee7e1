"""What a user may meet is documented: every setting and every error, with the words of the code."""

import re
from pathlib import Path

import pytest

from gateway.problems import all_codes
from gateway.settings import Settings

DOCS = Path(__file__).parents[3] / "docs"


def _rows(name: str) -> dict[str, list[str]]:
    lines = (DOCS / name).read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


@pytest.mark.parametrize("page", ["configuration.md", "configuration.zh-CN.md"])
def test_configuration_names_every_setting_and_no_other(page: str):
    documented = {name for name in _rows(page) if name.startswith("ATTEST_")}
    assert documented == {f"ATTEST_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_is_described_in_the_words_of_the_code(name: str):
    described = _rows("configuration.md")[f"ATTEST_{name.upper()}"][1].replace("&#124;", "|")
    in_code = re.sub(r"\s+", " ", Settings.model_fields[name].description or "").rstrip(".")
    assert in_code
    assert described == in_code


@pytest.mark.parametrize("page", ["errors.md", "errors.zh-CN.md"])
def test_errors_names_every_code_with_its_status(page: str):
    documented = {code: int(cells[0]) for code, cells in _rows(page).items() if cells[0].isdigit()}
    assert documented == {code: kind.status for code, kind in all_codes().items()}


CHINESE = sorted(DOCS.glob("*.zh-CN.md"))


def _code(page: str) -> list[str]:
    """The lines of code, fenced or indented, without comments: these may be translated."""
    lines = re.findall(r"(?ms)^```\w*\n(.*?)^```", page) + re.findall(r"(?m)^    (\S.*)$", page)
    return [line for line in re.sub(r"(?m)(^|\s+)#.*$", "", "\n".join(lines)).splitlines() if line.strip()]


@pytest.mark.parametrize("chinese", CHINESE, ids=lambda page: page.name)
def test_a_page_says_the_same_in_both_languages(chinese: Path):
    """As far as that can be counted: headings, rows of tables, every line of code, and every name of a setting."""
    english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
    here, there = (page.read_text("utf-8") for page in (chinese, english))
    for pattern in (r"(?m)^#+ ", r"(?m)^\|", r"(?m)^```"):
        assert len(re.findall(pattern, here)) == len(re.findall(pattern, there)), pattern
    assert _code(here) == _code(there)
    assert set(re.findall(r"ATTEST_[A-Z0-9_]+", here)) == set(re.findall(r"ATTEST_[A-Z0-9_]+", there))
    assert f"]({english.name})" in here
    assert f"]({chinese.name})" in there
