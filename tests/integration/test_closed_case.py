"""No text is opened for a case that was closed, by any way; and who looks at the cases is on record."""

import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlencode

import pytest

from tests.integration.audit_client import accesses, ask
from tests.integration.client import by_api
from tests.integration.test_access import NoRedirect
from tests.rig.product import ROOT, Product

MARKER = "otter-compass"
NUMBER = "CLOSED-1"


def console(product: Product, path: str, form: dict[str, str] | None = None, person: str = "carol") -> tuple[int, str]:
    """Get a page of the console, or post a form to it; return the status and where that leads."""
    request = urllib.request.Request(product.url + path, data=urlencode(form).encode() if form is not None else None)
    request.add_header("Authorization", f"Bearer {product.token(person)}")
    request.add_header("Accept", "text/html")
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=60) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["location"] or ""


@pytest.fixture(scope="module")
def turn_id(product: Product) -> str:
    return by_api(product, f"Please answer PLAIN-EN now, {MARKER}.").turn_id


def test_no_text_is_opened_for_a_closed_case(product: Product, turn_id: str):
    status, case = console(product, "/console/cases", {"number": NUMBER, "purpose": "a complaint"})
    assert status == 303
    assert MARKER.encode() in ask(product, f"turns/{turn_id}", content="true", purpose=NUMBER).body
    assert console(product, f"{case}/close", {})[0] == 303
    for path, query in (
        (f"turns/{turn_id}", {"content": "true"}), ("turns", {"text": MARKER}), ("export", {"content": "true"})
    ):  # fmt: skip
        refused = ask(product, path, purpose=f"{NUMBER} ", **query)
        assert (refused.status, refused.json["type"]) == (403, "urn:attest:problem:case-closed")
        assert "closed" in refused.json["detail"]
    reasons = [one.get("reason") for one in accesses(product, "access.denied", officer="carol")]
    assert reasons[:3] == ["case_closed"] * 3
    assert ask(product, f"turns/{turn_id}", purpose=NUMBER).status == 200  # without texts as ever
    assert MARKER.encode() in ask(product, f"turns/{turn_id}", content="true", purpose="ANOTHER").body


def test_the_command_line_opens_none_either(product: Product, turn_id: str):
    command = [sys.executable, "-m", "gateway", "audit", "show", turn_id, "--purpose", NUMBER]
    done = subprocess.run(
        command, env=product.environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert "closed" in done.stderr
    denied = accesses(product, "access.denied")[0]
    assert (denied["reason"], denied["turn_id"], denied["surface"]) == ("case_closed", turn_id, "cli")
    assert denied["detail"] == {"command": "show", "purpose": NUMBER}


def test_the_queue_is_no_case(product: Product, turn_id: str):
    """Whoever closes a case of that name does not close the queue to reviewers."""
    _, case = console(product, "/console/cases", {"number": "review", "purpose": "a name that is taken"})
    assert console(product, f"{case}/close", {})[0] == 303
    assert ask(product, f"turns/{turn_id}", content="true", purpose="review").status == 200


def test_a_look_at_the_cases_is_on_record(product: Product):
    assert console(product, "/console/cases")[0] == 200
    newest = accesses(product, "access.search", officer="carol")[0]
    assert newest["detail"]["what"] == "cases"
    assert newest["detail"]["results"] >= 0
