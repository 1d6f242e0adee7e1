"""Texts of turns open for a case only when a second officer granted it: over HTTP and on the command line."""

import json
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.audit_client import ask
from tests.integration.client import by_api, post, status_and_body
from tests.rig.product import ROOT, Product, running_product
from tests.scripts import SCRIPT

CASE = "CASE-9"
ROLES = "staff=staff,compliance=compliance,security=security,admin=compliance"
"""Ada is a second officer here."""
MARKER = "zebra-lantern"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("strict")
    with running_product(folder, SCRIPT, ATTEST_AUDIT_FOUR_EYES="content", ATTEST_OIDC_ROLES=ROLES) as running:
        yield running


@pytest.fixture(scope="module")
def turn_id(strict: Product) -> str:
    return by_api(strict, f"Please answer PLAIN-EN now, {MARKER}.").turn_id


def read(product: Product, turn_id: str, person: str, purpose: str = CASE):
    return ask(product, f"turns/{turn_id}", person, content="true", purpose=purpose)


def decide(product: Product, approval: str, decision: str, person: str) -> tuple[int, dict[str, object]]:
    return status_and_body(product, f"/api/audit/approvals/{approval}", {"decision": decision}, person)


def test_content_opens_for_one_officer_and_one_case_once_another_granted_it(strict: Product, turn_id: str):
    assert read(strict, turn_id, "carol").json["type"] == "urn:attest:problem:second-officer-required"
    assert ask(strict, "turns", "carol", text=MARKER, purpose=CASE).status == 403
    assert ask(strict, "export", "carol", content="true", purpose=CASE).status == 403
    assert ask(strict, f"turns/{turn_id}", "carol").status == 200  # without texts as ever
    status, asked = status_and_body(strict, "/api/audit/approvals", {"case_number": CASE}, "carol")
    assert (status, asked["action"], asked["decision"]) == (201, "content", "")
    again = status_and_body(strict, "/api/audit/approvals", {"case_number": CASE}, "carol")[1]
    assert again["approval_id"] == asked["approval_id"]
    assert [one["approval_id"] for one in ask(strict, "approvals", "ada").json] == [asked["approval_id"]]

    assert decide(strict, asked["approval_id"], "approved", "carol")[0] == 409  # one's own
    assert decide(strict, asked["approval_id"], "approved", "sam")[0] == 403
    assert read(strict, turn_id, "carol").status == 403
    assert decide(strict, asked["approval_id"], "approved", "ada")[0] == 200

    assert MARKER.encode() in read(strict, turn_id, "carol").body
    assert ask(strict, "turns", "carol", text=MARKER, purpose=CASE).status == 200
    assert MARKER.encode() in ask(strict, "export", "carol", content="true", purpose=CASE).body
    assert read(strict, turn_id, "carol", "CASE-10").status == 403  # another case
    assert read(strict, turn_id, "ada").status == 403  # another officer
    kinds = "approval.requested,approval.decided,access.denied"
    records = ask(strict, "records", "sam", kind=kinds, limit=200).json["records"]
    assert {"approval.requested", "approval.decided"} <= {one["kind"] for one in records}
    assert "second_officer_required" in {one.get("reason") for one in records}


def test_a_refusal_opens_nothing_and_stands(strict: Product, turn_id: str):
    asked = status_and_body(strict, "/api/audit/approvals", {"case_number": "CASE-11"}, "carol")[1]
    assert decide(strict, asked["approval_id"], "refused", "ada")[1]["decision"] == "refused"
    assert decide(strict, asked["approval_id"], "approved", "ada")[0] == 409
    assert read(strict, turn_id, "carol", "CASE-11").status == 403


def test_of_decisions_at_the_same_moment_one_counts(strict: Product):
    asked = status_and_body(strict, "/api/audit/approvals", {"case_number": "CASE-12"}, "carol")[1]
    with ThreadPoolExecutor(8) as pool:
        choices = ["approved", "refused"] * 4
        done = list(pool.map(lambda choice: decide(strict, asked["approval_id"], choice, "ada"), choices))
    assert sorted(status for status, _ in done) == [200] + [409] * 7


@pytest.mark.parametrize(
    "body", [{}, {"case_number": ""}, {"case_number": "x" * 101}, {"case_number": "a\nb"}, {"case_number": 1}, b"{"]
)
def test_bad_requests_are_refused(strict: Product, body: object):
    with pytest.raises(urllib.error.HTTPError) as error, post(strict, "/api/audit/approvals", body, "carol"):
        pass
    assert error.value.code in {400, 409}


def test_the_command_line_obeys_too(strict: Product, turn_id: str):
    def attest(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway", "audit", *arguments]
        return subprocess.run(
            command, env=strict.environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )

    for arguments in (
        ("show", turn_id),
        ("show", turn_id, "--purpose", CASE),
        ("list", "--text", "x", "--purpose", CASE),
        ("export", "--content", "--purpose", CASE, str(strict.data_dir / "never.ndjson")),
    ):
        refused = attest(*arguments)
        assert (refused.returncode, refused.stdout) == (4, "")
    denied = [json.loads(line) for line in attest("records", "--kind", "access.denied").stdout.splitlines()]
    here = [one for one in denied if one["surface"] == "cli"]
    assert {one["reason"] for one in here} == {"second_officer_required"}
    assert [(one["detail"], one.get("turn_id", "")) for one in here] == [
        ({"command": "show"}, turn_id),
        ({"command": "show", "purpose": CASE}, turn_id),
        ({"command": "list", "purpose": CASE}, ""),
        ({"command": "export", "purpose": CASE}, ""),
    ]
    asked = attest("approve", "ask", CASE)
    assert asked.returncode == 4
    assert decide(strict, asked.stdout.strip(), "approved", "ada")[0] == 200
    shown = attest("show", turn_id, "--purpose", CASE, "--json")
    assert MARKER in json.loads(shown.stdout)["message"]
