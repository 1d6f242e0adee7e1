"""`attest audit list` with its filters, and `attest audit export`."""

import csv
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from audit.record import Content, FindingRecord, Kind
from tests.integration.audit.test_audit_commands import ME, a_turn, entry
from tests.rig.product import ROOT

FINDING = FindingRecord("company", "project-names", "company", 0, 4, 1.0, 0.5, "block", "flag", "message")


@pytest.fixture
def filled(attest, append):
    """Call `attest` on a log of three turns; the second asked for a secret project."""
    append(*a_turn("t1"))
    secret = Content("message", "user", "=cmd about 凤凰计划")
    fields = {"turn": "t2", "subject": "bob", "verdict": "flag", "groups": ("sales",), "model": "large"}
    append(entry(Kind.TURN_REFUSED, secret, findings=(FINDING,), **fields))
    append(*a_turn("t3", groups=("sales",)))
    attest("audit", "checkpoint")
    return attest


def ids(printed: str) -> list[str]:
    return [turn["turn_id"] for turn in json.loads(printed)]


def test_list_takes_every_filter(filled):
    assert ids(filled("audit", "list", "--json", "--order", "oldest")) == ["t1", "t2", "t3"]
    for name, value, found in (
        ("group", "sales", ["t3", "t2"]),
        ("category", "company", ["t2"]),
        ("rule", "project-names", ["t2"]),
        ("model", "large", ["t2"]),
        ("verdict", "block", ["t3", "t1"]),
        ("role", "nobody", []),
    ):
        assert ids(filled("audit", "list", "--json", f"--{name}", value)) == found, name
    assert ids(filled("audit", "list", "--json", "--limit", "2")) == ["t3", "t2"]


def test_texts_are_searched_for_a_purpose_and_stay_out_of_the_record(filled):
    filled("audit", "list", "--text", "凤凰", code=2)
    filled("audit", "list", "--text", "…", "--purpose", "C1", code=2)
    assert ids(filled("audit", "list", "--json", "--text", "凤凰", "--purpose", "C1")) == ["t2"]
    record = json.loads(filled("audit", "records", "--kind", "access.search").splitlines()[0])
    assert record["subject"] == ME
    assert record["detail"] == {"limit": 100, "purpose": "C1", "results": 1, "text_characters": 2}
    assert "凤凰" not in json.dumps(record, ensure_ascii=False)


def test_export_writes_a_file_that_only_we_read(filled, tmp_path: Path):
    target = tmp_path / "out.ndjson"
    filled("audit", "export", str(target), "--group", "sales")
    turns = [json.loads(line) for line in target.read_text().splitlines()]
    assert [turn["turn"]["turn_id"] for turn in turns] == ["t2", "t3"]
    assert all(turn["content"] is None for turn in turns)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    filled("audit", "export", str(target), code=2)
    filled("audit", "export", str(tmp_path / "x"), "--content", code=2)
    filled("audit", "export", str(tmp_path / "missing" / "x"), code=3)
    records = [
        json.loads(line)["detail"] for line in filled("audit", "records", "--kind", "access.export").splitlines()
    ]
    assert [(one["state"], one.get("turns")) for one in records] == [
        ("started", None),
        ("complete", 2),
        ("started", None),
        ("broken_off", 0),
    ]
    assert records[0]["group"] == "sales"


def test_a_spreadsheet_runs_nothing(filled, tmp_path: Path):
    target = tmp_path / "out.csv"
    filled("audit", "export", str(target), "--format", "csv", "--content", "--purpose", "C1")
    with target.open(encoding="utf-8-sig", newline="") as file:
        rows = {row["turn_id"]: row for row in csv.DictReader(file)}
    assert rows["t2"]["message"] == "'=cmd about 凤凰计划"
    assert rows["t1"]["withheld"] == "Bad."


@pytest.mark.parametrize("filters", [(), ("--subject", "bob")])
def test_a_bundle_is_checked_without_attest(filled, tmp_path: Path, filters: tuple[str, ...]):
    target = tmp_path / "out.zip"
    filled("audit", "export", str(target), "--format", "bundle", "--content", "--purpose", "C1", *filters)
    command = [sys.executable, "-I", str(ROOT / "audit" / "verify.py"), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
