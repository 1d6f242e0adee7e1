"""docs/audit.md: what it tells to type works, in both languages, and every finding is described."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.rig.process import need
from tests.unit.audit.bundles import honest

ROOT = Path(__file__).parents[3]
PAGES = ("docs/audit.md", "docs/audit.zh-CN.md")
MODULES = (
    "audit/verify.py",
    *(f"audit/verification/{name}.py" for name in ("database", "rows", "texts", "tiles", "turns")),
    "audit/elastic/verify.py",
)


def shell(page: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_verification_by_hand_works_as_described(page, tmp_path):
    need("openssl")
    log = honest(23)
    folder = log.write(tmp_path / "bundle", sizes=(9, 23))
    (folder / "keys").write_text(log.signer.public + "\n")
    (folder / "checkpoint").write_bytes(log.checkpoint(21))
    signature, leaf, every, root, text = [run(step, folder) for step in shell(page)]
    assert "Signature Verified Successfully" in signature
    computed, stated = leaf.splitlines()
    assert computed.split()[0] == stated.split()[1] == log.hashes[0].hex()
    assert every == ""
    assert [line.split()[-1] for line in root.splitlines()] == [log.root(21).hex()] * 2
    assert len({line.split()[-1] for line in text.splitlines()}) == 1


@pytest.mark.parametrize("page", PAGES)
def test_records_that_are_altered_or_not_there_are_seen_by_hand(page, tmp_path):
    folder = honest(23).write(tmp_path / "bundle", sizes=(9, 23))
    leaves = (folder / "leaves.ndjson").read_bytes().split(b"\n")
    leaves[7] = leaves[7].replace(b'"', b"'", 1)
    leaves[9] = b""
    (folder / "leaves.ndjson").write_bytes(b"\n".join(leaves[:22]) + b"\n")
    found = run(shell(page)[2], folder).splitlines()
    assert [re.findall("[0-9]+", line) for line in found] == [["7"], ["9"], ["22"]]


def run(step: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-euc", step], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_every_finding_is_described(page):
    described = set(re.findall(r"`([a-z]+)`", (ROOT / page).read_text()))
    assert codes() <= described
    assert len(codes()) > 20


def codes() -> set[str]:
    """Every word that is given to a report as a code."""
    found: set[str] = set()
    for module in MODULES:
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add":
                if len(node.args) > 1:
                    found |= {one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)}
            elif isinstance(node, ast.Assign) and {"code"} & set(names_of(node)):
                found |= {one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)}
    return {one for one in found if isinstance(one, str) and re.fullmatch("[a-z]+", one)}


def names_of(node: ast.Assign) -> list[str]:
    return [one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)]


def test_both_languages_have_the_same_parts():
    english, chinese = ((ROOT / page).read_text() for page in PAGES)
    assert len(re.findall("^## ", english, re.MULTILINE)) == len(re.findall("^## ", chinese, re.MULTILINE))
    rows = [re.findall(r"^\| `([^|]*)` \|", page, re.MULTILINE) for page in (english, chinese)]
    assert rows[0] == rows[1]
