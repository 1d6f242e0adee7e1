import re
from pathlib import Path

import pytest

from audit.record import Entry, Kind

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["events.md", "events.zh-CN.md"])
def test_every_kind_of_record_has_its_heading_and_no_other_has(page: str):
    headings = re.findall(r"^## `([a-z_.]+)`$", (DOCS / page).read_text(), re.MULTILINE)
    assert headings == [kind.value for kind in Kind]


@pytest.mark.parametrize("page", ["audit-records.md", "audit-records.zh-CN.md"])
def test_every_field_of_a_leaf_is_described(page: str):
    table = re.findall(r"^\| `(\w+)` \|", (DOCS / page).read_text(), re.MULTILINE)
    missing = set(Entry.__struct_fields__) - {"contents", "dialogue"} - set(table)
    assert not missing
