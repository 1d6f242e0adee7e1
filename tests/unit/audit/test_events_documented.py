import re
from pathlib import Path

from audit.record import Entry, Kind

DOCS = Path(__file__).parents[3] / "docs"


def test_every_kind_of_record_has_its_heading_and_no_other_has():
    headings = re.findall(r"^## `([a-z_.]+)`$", (DOCS / "events.md").read_text(), re.MULTILINE)
    assert headings == [kind.value for kind in Kind]


def test_every_field_of_a_leaf_is_described():
    table = re.findall(r"^\| `(\w+)` \|", (DOCS / "audit-records.md").read_text(), re.MULTILINE)
    missing = set(Entry.__struct_fields__) - {"contents", "dialogue"} - set(table)
    assert not missing
