"""Pseudonyms: one placeholder for one value, and the value back in the answer however the answer is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.parts import filters
from safety.pipeline import Pipeline
from safety.pseudonyms import Pseudonyms, Restorer
from safety.stream import StreamWindow, deliver
from safety.verdict import Action, Decision, Redaction
from tests.unit.safety.guards import INPUT, usable


def decision(*cuts):
    return Decision(
        action=Action.PSEUDONYMISE,
        verdicts=(),
        examinations=(),
        policy_hash="h",
        normaliser_version="1",
        redactions=tuple(Redaction(*cut) for cut in cuts),
    )


def test_one_value_has_one_placeholder_in_all_texts():
    pseudonyms = Pseudonyms()
    first = pseudonyms.apply(decision((0, 3, "[PHONE]", True), (4, 7, "[PHONE]", True)), "111 222")
    second = pseudonyms.apply(decision((0, 3, "[PHONE]", True), (4, 5, "[ID NUMBER]", True)), "222 x")
    assert (first, second, len(pseudonyms)) == ("[PHONE_1] [PHONE_2]", "[PHONE_2] [ID_NUMBER_1]", 3)


def test_what_is_only_redacted_does_not_come_back():
    pseudonyms = Pseudonyms()
    assert pseudonyms.apply(decision((0, 3, "[SECRET]")), "abc d") == "[SECRET] d"
    assert len(pseudonyms) == 0
    assert pseudonyms.restorer().push("[SECRET] and [SECRET_1]") == "[SECRET] and [SECRET_1]"


def test_a_placeholder_that_somebody_typed_is_not_given():
    pseudonyms = Pseudonyms(["what is [PHONE_1]?", "111"])
    assert pseudonyms.apply(decision((0, 3, "[PHONE]", True)), "111") == "[PHONE_2]"
    assert pseudonyms.restorer().push("[PHONE_1] [PHONE_2].") == "[PHONE_1] 111."


@pytest.mark.parametrize("kind", ["", "***", "<电话>", "e-mail address"])
def test_any_placeholder_of_a_policy_gives_one_that_can_be_found(kind):
    pseudonyms = Pseudonyms()
    placeholder = pseudonyms.apply(decision((0, 3, kind, True)), "111")
    assert placeholder.startswith("[")
    assert placeholder.endswith("_1]")
    assert pseudonyms.restorer().push(f"so {placeholder}!") == "so 111!"


VALUES = {"[PHONE_1]": "13800138000", "[PHONE_10]": "x@y.cn", "[ID_1]": "[PHONE_1]"}


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from([*VALUES, "[", "[PHO", "[PHONE_1", "_1]", "]", "ab", " ", "好"]), max_size=12),
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
)
def test_whatever_the_chunking_the_restored_text_is_the_same(parts, sizes):
    text = "".join(parts)
    once = Restorer(VALUES)
    whole = once.push(text) + once.flush()
    piecewise, out, at = Restorer(VALUES), [], 0
    while at < len(text):
        size = sizes[at % len(sizes)]
        out.append(piecewise.push(text[at : at + size]))
        assert len(piecewise.held) < max(map(len, VALUES))
        at += size
    assert "".join(out) + piecewise.flush() == whole
    assert piecewise.restored == once.restored


def test_a_beginning_is_held_only_in_the_models_own_text():
    restorer = Restorer({"[PHONE_1]": "1"})
    assert (restorer.push("see [PHONE", own=3), restorer.held) == ("see [PHONE", "")
    assert (restorer.push("see [PHONE", own=6), restorer.held) == ("see ", "[PHONE")
    assert restorer.push("_1] ok") == "1 ok"


SECRET = "zK7#qp9XwB"
ASKED = {
    f"My database password is {SECRET}, write the .env file.": f"Here it is:\n\nDB_USER=app\nDB_PASSWORD={SECRET}\n",
    f"我的密码是{SECRET}，帮我写邮件。": f"您好，您的密码是{SECRET}，请妥善保管。",
    f"The password: {SECRET}": f'**Password**: **{SECRET}**, {{"password": "{SECRET}"}}, -p {SECRET}.',
}


@pytest.mark.parametrize("question", ASKED)
@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_secret_with_a_pseudonym_comes_back_wherever_the_model_puts_it(question, size):
    policy = usable("categories/secret", {"input": "pseudonymise", "output": "redact", "placeholder": "[SECRET]"})
    safety, pseudonyms, window = Pipeline(filters(policy), policy), Pseudonyms([question]), StreamWindow()
    sent = pseudonyms.apply(await safety.examine(question, INPUT), question)
    assert sent == question.replace(SECRET, "[SECRET_1]")
    said, restorer = ASKED[question].replace(SECRET, "[SECRET_1]"), pseudonyms.restorer()
    chunks = [said[at : at + size] for at in range(0, len(said), size)]
    stretches = [stretch for chunk in chunks for stretch in window.push(chunk)] + window.flush()
    shown = [restorer.push(deliver(await safety.examine(one.whole, one.context()), one)) for one in stretches]
    assert "".join([*shown, restorer.flush()]) == ASKED[question]
