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


def test_configuration_names_every_setting_and_no_other():
    documented = {name for name in _rows("configuration.md") if name.startswith("ATTEST_")}
    assert documented == {f"ATTEST_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_is_described_in_the_words_of_the_code(name: str):
    described = _rows("configuration.md")[f"ATTEST_{name.upper()}"][1].replace("&#124;", "|")
    in_code = re.sub(r"\s+", " ", Settings.model_fields[name].description or "").rstrip(".")
    assert in_code
    assert described == in_code


def test_errors_names_every_code_with_its_status():
    documented = {code: int(cells[0]) for code, cells in _rows("errors.md").items() if cells[0].isdigit()}
    assert documented == {code: kind.status for code, kind in all_codes().items()}
