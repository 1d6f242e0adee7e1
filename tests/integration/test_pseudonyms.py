"""Pseudonyms in the running product: the same answer on the page and the API, streamed and not; the model sees none."""

import pytest
import yaml

from safety.policy import DEFAULT_POLICY
from tests.integration.client import by_api, by_api_stream, by_page
from tests.rig.product import running_product

SURFACES = {"api": by_api, "api.stream": by_api_stream, "page": by_page}
QUESTIONS = (
    "Tell Li Lei at 13800138000 that card 4111 1111 1111 1111 is blocked.",
    "请告诉李雷（13800138000）改期。",
    "Tell 13800138000 that the database password is zK7#qp9XwB from now on.",
)


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pseudonyms")
    policy = yaml.safe_load(DEFAULT_POLICY.read_text("utf-8"))
    for rule in ("cn_mobile", "bank_card"):
        policy["rules"][f"personal_data.{rule}"]["input"] = "pseudonymise"
    policy["categories"]["secret"]["input"] = "pseudonymise"
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, allow_unicode=True), "utf-8")
    script = {"default": {"echo": True, "chunk": 2}}
    with running_product(folder, script, ATTEST_POLICY=str(folder / "policy.yaml")) as running:
        yield running


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("surface", SURFACES)
def test_the_echo_of_a_question_has_its_values_back(product, surface, question):
    outcome = SURFACES[surface](product, question)
    assert (outcome.outcome, outcome.text) == ("completed", question)
    shown = product.show(outcome.turn_id)
    assert (shown["verdict"], shown["message"], shown["delivered"]) == ("pseudonymise", question, question)
    assert "13800138000" not in str(shown["generated"])
    assert "[PHONE_1]" in str(shown["generated"])
    assert "13800138000" not in str(shown["dialogue"])
    assert shown["withheld"] == ""
