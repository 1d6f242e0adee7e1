"""A policy goes its way on the running product: proposed, tried, granted by a second person, in force, kept."""

import html
import json
import re
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from safety.policy import DEFAULT_POLICY
from tests.integration.client import by_api
from tests.integration.test_access import NoRedirect
from tests.rig.product import ROOT, Product, running_product

ROLES = "staff=staff,compliance=compliance,security=security,admin=compliance"
"""Ada is a second officer here."""
TEXT = DEFAULT_POLICY.read_text("utf-8")
CARD = "My card is 4111 1111 1111 1111."
HOSTILE = "<script>alert(1)</script>"
MARKER = f"zebra-lantern {HOSTILE}"
LAUGHS = "a: &a [x]\n" + "".join(f"{name}: &{name} [{', '.join([f'*{old}'] * 9)}]\n" for old, name in ("ab", "bc"))


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    script = {"default": {"text": "A short answer."}}
    settings = {"ATTEST_OIDC_ROLES": ROLES, "ATTEST_POLICY_CHECK_S": "0.3"}
    with running_product(tmp_path_factory.mktemp("policy"), script, **settings) as running:
        yield running


def ask(product: Product, path: str, person: str, form: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Return status, body and where it leads."""
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(f"{product.url}{path}", data=data)
    request.add_header("Authorization", f"Bearer {product.token(person)}")
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers.get("location") or ""


def blocking(version: int) -> str:
    text = TEXT.replace("version: 1\n", f"version: {version}\n")
    return text.replace("personal_data.bank_card: {", "personal_data.bank_card: {input: block, ") + (
        f"groups: {{'{HOSTILE}': {{}}}}\n"
    )


def proposed(product: Product, text: str, note: str = "") -> str:
    status, _, to = ask(product, "/console/policy", "carol", {"text": text, "note": note})
    assert status == 303
    return urllib.parse.urlsplit(to).path


def attest(product: Product, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(
        command, env=product.environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_version_is_proposed_tried_granted_and_kept(product: Product):
    before = by_api(product, f"{CARD} {MARKER}")
    assert before.outcome == "completed"
    path = proposed(product, blocking(2), f"cards stop {HOSTILE}\u202e")
    page = ask(product, path, "carol")[1]
    assert HOSTILE not in page
    assert html.escape(HOSTILE) in page
    assert "[U+202E]" in page
    assert "rules.personal_data.bank_card.input" in page
    assert HOSTILE not in ask(product, "/console/policy", "sam")[1]

    assert ask(product, f"{path}/trial", "carol")[0] == 404
    assert ask(product, f"{path}/trial", "carol", {"days": "2", "most": "7"})[0] == 400
    assert ask(product, f"{path}/trial", "carol", {"days": "1", "most": "100"})[0] == 303
    until = time.monotonic() + 120
    while (progress := json.loads(ask(product, f"{path}/trial", "carol")[1]))["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.3)
    assert progress == {"state": "done", "done": 1, "total": 1}
    page = ask(product, path, "sam")[1]
    assert f"/console/turns/{before.turn_id}" in page
    assert "1 stricter" in page
    assert "zebra" not in page
    assert ask(product, f"{path}?texts=open", "carol")[0] == 400  # no case was chosen
    assert ask(product, f"{path}?texts=open", "sam")[0] == 403

    assert ask(product, f"{path}/activation", "carol", {})[0] == 303
    [waiting] = json.loads(ask(product, "/api/audit/approvals", "ada")[1])
    assert (waiting["action"], waiting["arguments"]["policy"]) == ("policy", "default 2")
    grant = f"/console/approvals/{waiting['approval_id']}"
    assert ask(product, grant, "carol", {"decision": "approved"})[0] == 409  # one's own
    assert ask(product, grant, "sam", {"decision": "approved"})[0] == 403
    assert by_api(product, CARD).outcome == "completed"
    assert ask(product, grant, "ada", {"decision": "approved"})[0] == 303
    until = time.monotonic() + 60
    while (after := by_api(product, CARD)).outcome != "blocked":
        assert time.monotonic() < until
    records = [
        json.loads(line) for line in product.attest("audit", "records", "--kind", "policy.activated").splitlines()
    ]
    assert [one["detail"].get("granted_by") for one in records] == [None, waiting_for(product, "ada")]
    accepted = product.show(after.turn_id)["records"][0]
    assert accepted["policy_hash"] == records[-1]["policy_hash"] != records[0]["policy_hash"]
    assert json.loads(product.attest("audit", "replay", after.turn_id, "--json"))["outcome"] == "same"
    product.restart_gateway()
    assert by_api(product, CARD).outcome == "blocked"


def waiting_for(product: Product, person: str) -> str:
    """Return the subject of a person, as records have it."""
    [one] = [o for o in json.loads(ask(product, "/api/audit/approvals?decided=true", "ada")[1]) if o["decided_by"]]
    assert person in one["decided_by"]
    return one["decided_by"]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (LAUGHS, 400, "aliases (*name) are not allowed"),
        ("name: !!python/object/apply:os.system [id]", 400, "could not determine a constructor"),
        ("[" * 100_000, 400, "more than 20 levels"),
        ("a" * 300_000, 400, "longer than 200000 characters"),
        ("a" * 2_000_000, 413, ""),
        (TEXT + "colour: red\nfailures: {default: block}\n", 400, "this key stands twice"),
        (TEXT + f"'{HOSTILE}': 1\nshape: round\n", 400, "there is no field “shape”"),
        (
            TEXT + "groups: {sales: {failures: {default: allow}}}\n",
            400,
            "groups.sales.failures.default allow is weaker than block, which holds for everyone",
        ),
        ("", 400, "must be fields with values"),
    ],
)
def test_a_hostile_or_wrong_text_is_shown_again_with_what_to_mend(product: Product, text: str, status: int, said: str):
    got, page, _ = ask(product, "/console/policy", "carol", {"text": text, "note": HOSTILE})
    assert got == status
    assert said in " ".join(html.unescape(re.sub("<[^>]*>", " ", page)).split())
    assert HOSTILE not in page


def tried(product: Product, path: str, person: str) -> None:
    assert ask(product, f"{path}/trial", person, {"days": "1", "most": "100"})[0] == 303
    until = time.monotonic() + 120
    while json.loads(ask(product, f"{path}/trial", person)[1])["state"] != "done":
        assert time.monotonic() < until
        time.sleep(0.3)


def told(product: Product, path: str, person: str) -> str:
    """Return what the page says of a trial, without the version's text."""
    return ask(product, path, person)[1].partition('aria-labelledby="trial"')[2].partition('aria-labelledby="words"')[0]


def test_a_trial_of_other_words_tells_whoever_may_not_read_no_turn_and_no_small_total(product: Product):
    turn = by_api(product, "Bluefin will be sold to Contoso on Friday.")
    words = "company:\n  w_contoso: {words: [Contoso]}\n  w_monday: {words: [on Monday]}\n"
    other = in_force(product) + words
    path = proposed(product, other.replace("version: ", "version: 7"))
    tried(product, path, "sam")
    page = told(product, path, "sam")
    assert "Its trial is a search in what people wrote" in page
    assert "Fewer than 100 were judged, so nothing is shown." in page
    assert turn.turn_id not in page
    assert "w_contoso" not in page
    assert "stricter" not in page
    assert turn.turn_id in told(product, path, "carol")
    assert "company.w_contoso" in told(product, path, "carol")
    assert "Its trial is a search" not in told(product, path, "carol")

    with sqlite3.connect(product.data_dir / "attest.db", timeout=30) as database:
        database.execute(
            "update policy_trial set result = json_set(result, '$.turns', 150, '$.stricter', 23, '$.milder', 9)"
            " where version_id = ?",
            (path.rpartition("/")[2],),
        )
    page = told(product, path, "sam")
    assert "Of 150 turns since" in page
    assert "at least 20 would end stricter and fewer than 10 milder" in page
    assert turn.turn_id not in page
    assert "w_contoso" not in page
    assert "23 would end stricter and 9 milder" in told(product, path, "carol")

    groups = "groups: {staff: {categories: {company: {input: block, output: block}}}}\n"
    masked = proposed(product, re.sub(r"(?m)^groups:.*\n", "", other) + groups)
    assert ask(product, f"{masked}/trial", "sam", {"days": "1", "most": "100"})[0] == 403
    tried(product, masked, "carol")
    page = told(product, masked, "sam")
    assert "propose the words alone" in page
    assert turn.turn_id not in page
    assert turn.turn_id in told(product, masked, "carol")


def in_force(product: Product) -> str:
    """Return the text of the policy in force, which has no words of a company."""
    page = ask(product, "/console/policy/new", "carol")[1]
    return html.unescape(re.search(r"(?s)<textarea[^>]*>(.*?)</textarea>", page)[1]).lstrip("\n")


def test_the_command_line_goes_the_same_way(product: Product, tmp_path):
    file = tmp_path / "three.yaml"
    file.write_text(TEXT + "colour: red\nshape: round\n", "utf-8")
    refused = attest(product, "safety", "policy", "propose", str(file))
    assert (refused.returncode, refused.stderr.count("unknown field")) == (1, 2)
    file.write_text(TEXT.replace("version: 1\n", "version: 33\n"), "utf-8")
    assert attest(product, "safety", "policy", "check", str(file)).returncode == 0
    version = attest(product, "safety", "policy", "propose", str(file), "--note", "by hand").stdout.strip()
    assert attest(product, "safety", "policy", "show", version).stdout == file.read_text("utf-8")
    changed = json.loads(attest(product, "safety", "policy", "diff", version, "--json").stdout)
    assert {"version", "rules.personal_data.bank_card.input"} >= {
        one["field"] for one in changed if not one["field"].startswith("groups")
    }
    asked = attest(product, "safety", "policy", "activate", version)
    assert asked.returncode == 4
    own = attest(product, "audit", "approve", "grant", asked.stdout.strip())
    assert (own.returncode, "somebody else must" in own.stderr) == (4, True)
    assert ask(product, f"/console/approvals/{asked.stdout.strip()}", "ada", {"decision": "approved"})[0] == 303
    lines = json.loads(attest(product, "safety", "policy", "list", "--json").stdout)
    assert {(one["version"]["number"], one["state"]) for one in lines} >= {(33, "in_force"), (1, "candidate")}
