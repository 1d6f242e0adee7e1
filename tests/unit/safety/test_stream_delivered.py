"""What of a growing answer is delivered: nothing that was blocked or redacted, whatever the chunking."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.parts import filters
from safety.pipeline import Pipeline
from safety.stream import LONGEST_TOKEN, StreamWindow, Stretch, deliver
from safety.verdict import Action, Category, Decision, Redaction
from tests.unit.safety.answers import ANSWERS
from tests.unit.safety.guards import OUTPUT, WordGuard, default_policy

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJ" + "aB3-_z" * 200 + "." + "Zx9_" * 50
LONGEST = st.sampled_from([30, 60, LONGEST_TOKEN])


async def _deliver(guard, chunks, longest):
    """Do what the gateway does with an answer; return what was delivered and whether it was blocked."""
    window = StreamWindow(max_characters=30, overlap=40, longest_token=longest)
    return await _passed(Pipeline([guard], default_policy()), chunks, window)


async def _passed(layer, chunks, window):
    out = []
    for stretch in [s for chunk in chunks for s in window.push(chunk)] + window.flush():
        decision = await layer.examine(stretch.whole, stretch.context())
        out.append(deliver(decision, stretch))
        if decision.blocked:
            return "".join(out), True
    return "".join(out), False


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.sampled_from(["炸弹", "bo. mb", "a。b", "wordword", "3.14e.g"]), ANSWERS, LONGEST, st.data())
def test_a_blocked_span_is_never_delivered_whole(before, word, after, longest, data):
    answer = before + word + after
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=10)))
    chunks = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    guard = WordGuard(word, category=Category.OUTPUT_REVIEW)
    delivered, blocked = asyncio.run(_deliver(guard, chunks, longest))
    assert blocked
    assert word not in delivered
    assert (delivered, blocked) == asyncio.run(_deliver(guard, [answer], longest))


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.sampled_from(["炸弹", "bo. mb", "a。b"]), ANSWERS, LONGEST)
def test_a_redacted_span_is_never_delivered_whole(before, word, after, longest):
    answer = before + word + after
    delivered, blocked = asyncio.run(_deliver(WordGuard(word, category=Category.SECRET), list(answer), longest))
    assert not blocked
    assert word not in delivered
    assert "[SECRET]" in delivered


def _decision(action, *redactions):
    return Decision(action, (), (), "h", "1", tuple(Redaction(*r) for r in redactions))


@pytest.mark.parametrize(
    ("decision", "delivered"),
    [
        (_decision(Action.ALLOW), "def ghi"),
        (_decision(Action.FLAG), "def ghi"),
        (_decision(Action.BLOCK), ""),
        (_decision(Action.ESCALATE), ""),
        (_decision(Action.REDACT, (4, 7, "[X]")), "[X] ghi"),
        (_decision(Action.REDACT, (2, 7, "[X]")), "[X] ghi"),
        (_decision(Action.REDACT, (0, 3, "[Y]"), (8, 11, "[X]")), "def [X]"),
    ],
)
def test_deliver_gives_the_new_text_alone(decision, delivered):
    assert deliver(decision, Stretch(text="def ghi", overlap="abc ")) == delivered


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_long_signed_web_token_is_redacted_whole(size):
    policy = default_policy()
    layer = Pipeline(filters(policy), policy)
    text = f"Here is it: {TOKEN} and so on."
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    delivered, blocked = asyncio.run(_passed(layer, chunks, StreamWindow()))
    assert (delivered, blocked) == ("Here is it: [SECRET] and so on.", False)


def test_of_a_token_that_had_to_be_cut_the_rest_is_redacted():
    policy = default_policy()
    layer = Pipeline(filters(policy), policy)
    head = "eyJhbGciOiJSUzI1NiJ9.eyJ" + "aB3-_z" * 1000
    delivered, _ = asyncio.run(_passed(layer, [f"{head}.Zx9_Zx9_Zx9_ ok."], StreamWindow()))
    assert delivered == head[:LONGEST_TOKEN] + "[SECRET] ok."


@pytest.mark.parametrize("quote", "\"'")
@pytest.mark.parametrize("words", range(180, 216))
def test_a_password_between_quotation_marks_is_cut_whole_wherever_the_stretch_ends(quote, words):
    policy = default_policy()
    layer = Pipeline(filters(policy), policy)
    text = "the report went to all of them and "[-(words % 35) :] + "the report went to all of them and " * (
        words // 35
    )
    answer = f"{text}they set password: {quote}aB3,dE5;fG7x{quote} for the shop"
    delivered, _ = asyncio.run(_passed(layer, [answer], StreamWindow()))
    assert delivered == f"{text}they set password: {quote}[SECRET]{quote} for the shop"


LISTS = {
    "Here are the employees with their social security numbers:\n\n": "- Ann Example, Accounting: 536-22-{}\n",
    "The Aadhaar numbers of the team members:\n": "- Ann Example of our Accounting, floor {}: 2341 2341 2346\n",
    "name,department,ssn\n": "Ann Example,Accounting,536-22-{}\n",
    "姓名,部门,护照号\n": "张三,财务部出纳科,E1234{}\n",
    "姓名,部門,護照號\n": "張三,財務部出納科,E1234{}\n",
    "| ＳＳＮ | name |\n|---|---|\n": "| 536-22-{} | Ann Example, Accounting |\n",
    "订单号,姓名,金额\n": "1380013{},李四先生的订货,10\n",
    "name,order number,paid\n": "Ann Example of our Accounting,1380013{},yes\n",
    "客户的国民保险号码如下：\n": "- 安娜，财务部门，二楼：JG10{}A\n",
}


@pytest.mark.parametrize("head", LISTS)
@pytest.mark.parametrize("rows", [30, 200])
def test_a_number_in_a_long_list_is_what_its_head_says_whether_the_answer_comes_at_once_or_grows(head, rows):
    answer = head + "".join(LISTS[head].format(1111 + row) for row in range(rows))
    policy = default_policy()
    layer = Pipeline(filters(policy), policy)
    whole = asyncio.run(layer.examine(answer, OUTPUT)).apply(answer)
    for chunks in ([answer], [answer[at : at + 7] for at in range(0, len(answer), 7)]):
        assert asyncio.run(_passed(layer, chunks, StreamWindow())) == (whole, False)
