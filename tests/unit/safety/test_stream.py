"""The stream window: the same stretches whatever the chunking, and cuts that split nothing."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.stream import BEFORE, LONGEST_TOKEN, StreamWindow, Stretch
from tests.unit.safety.answers import ANSWERS


def stretches(chunks, **bounds):
    window = StreamWindow(**bounds)
    return [s for chunk in chunks for s in window.push(chunk)] + window.flush()


def texts(text, **bounds):
    return [s.text for s in stretches([text], **bounds)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("你好！我是助手。请讲", ["你好！", "我是助手。", "请讲"]),
        ("“真的吗？”他问；然后……走了。", ["“真的吗？”", "他问；", "然后……", "走了。"]),
        ("Hello there. How are you? Fine!", ["Hello there. ", "How are you? ", "Fine!"]),
        (
            "Pi is 3.14 and e.g. this. Dr. Li (a@b.com) agrees.",
            ["Pi is 3.14 and e.g. this. ", "Dr. Li (a@b.com) agrees."],
        ),
        (
            "Version 1.29.3 is out! See www.firma.cn/a.b for more",
            ["Version 1.29.3 is out! ", "See www.firma.cn/a.b for more"],
        ),
        ("1. first\n2. second\n", ["1. first\n", "2. second\n"]),
        ("```py\nx = 1.5\nprint(x)\n```\nDone", ["```py\n", "x = 1.5\n", "print(x)\n", "```\n", "Done"]),
        ("好的。\n\n下一段", ["好的。\n\n", "下一段"]),
        ("", []),
        ("...", ["..."]),
    ],
)
def test_sentences(text, parts):
    assert texts(text) == parts


def test_a_long_sentence_is_cut_between_words():
    parts = texts("word " * 100, max_characters=50)
    assert "".join(parts) == "word " * 100
    assert all(len(part) <= 50 and part.endswith(" ") for part in parts)


@pytest.mark.parametrize(
    "token",
    [
        "13800138000",
        "li.wei@firma.cn",
        "138 0013 8000",
        "4111 1111 1111 1111",
        "sk-a1B2c3D4e5F6",
        "1,234.89",
        "(212) 736-5000",
        "+44 (0)20 7946 0958",
        "+86（138）12345678",
        "GB29 NWBK 6016 1331 9268 19",
        "AB 12 34 56 C",
    ],
)
@pytest.mark.parametrize("before", range(25, 50))
def test_a_cut_never_falls_inside_a_number_or_an_address(token, before):
    text = ("天气真好" * 20)[:before] + token + "谢谢你" * 20
    assert any(token in part for part in texts(text, max_characters=50))


def test_a_word_longer_than_the_limit_is_cut_all_the_same():
    assert texts("x" * 120, max_characters=50, longest_token=50) == ["x" * 50, "x" * 50, "x" * 20]
    assert texts("é" * 120, max_characters=50) == ["é" * 50, "é" * 50, "é" * 20]


TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJ" + "aB3-_z" * 200 + "." + "Zx9_" * 50


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"Here it is: {TOKEN} and so on.", ["Here it is: ", TOKEN, " and so on."]),
        (f"Here. {TOKEN}. So.", ["Here. ", f"{TOKEN}.", " So."]),
        (f"令牌是{TOKEN}，请保密。", ["令牌", "是", TOKEN, "，请保密。"]),
        ('{"token":"' + TOKEN + '"}', ['{"token":"', TOKEN, '"}']),
        (f"https://a.cn/b?key={TOKEN}&c", ["https://a.cn/b?", f"key={TOKEN}", "&c"]),
        ("é" * 230 + "a" * 20, ["é" * 230, "a" * 20]),
        (TOKEN, [TOKEN]),
    ],
)
def test_a_token_longer_than_a_stretch_is_cut_before_and_after_it_alone(text, parts):
    assert texts(text) == texts_one_by_one(text) == parts


def texts_one_by_one(text):
    return [s.text for s in stretches(list(text))]


@pytest.mark.parametrize("more", [0, 1, 300, LONGEST_TOKEN])
def test_a_token_longer_than_its_own_limit_is_cut_and_stands_whole_before_its_rest(more):
    token = ("aB3-" * LONGEST_TOKEN)[: LONGEST_TOKEN + more]
    found = stretches([token + " ok."])
    assert found == stretches(list(token + " ok."))
    assert found[0] == Stretch(token[:LONGEST_TOKEN], "")
    assert "".join(s.text for s in found) == token + " ok."
    assert (found[1].overlap + found[1].text).startswith(token)


def test_a_run_without_end_costs_time_and_memory_in_proportion_to_its_length():
    window = StreamWindow()
    began = time.process_time()
    for _ in range(50_000):
        for stretch in window.push("a" * 20):
            assert len(stretch.text) + len(stretch.overlap) <= 2 * LONGEST_TOKEN
        assert len(window.held) <= LONGEST_TOKEN
    assert time.process_time() - began < 15
    assert sum(len(s.text) for s in stretches(["a" * 1_000_000])) == 1_000_000


@pytest.mark.parametrize("marks", ["。", "；", "…", "。」", "?! ", "!", "\n", "\n ", "..", '" ', "。 "])
def test_a_row_of_marks_that_grows_sign_by_sign_costs_no_more_than_a_sentence(marks):
    window = StreamWindow()
    began = time.thread_time()
    for sign in (marks * 600)[:600]:
        window.push(sign)
    assert time.thread_time() - began < 1


def test_the_overlap_is_what_was_handed_out_before():
    found = stretches(["一二三。四五六。七八九。"], overlap=6)
    assert [(s.overlap, s.text) for s in found] == [
        ("", "一二三。"),
        ("一二三。", "四五六。"),
        ("三。四五六。", "七八九。"),
    ]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_stands_before_is_all_that_was_handed_out_as_far_as_checks_look(size):
    answer = "".join(f"Row {n} has a name, {'aB3-' * (n % 3) * 400} and more.\n" for n in range(40)) + "x\n" * 3000
    at = 0
    for stretch in stretches([answer[a : a + size] for a in range(0, len(answer), size)]):
        begins = at - len(stretch.overlap)
        assert stretch.before == answer[max(0, begins - BEFORE) : begins]
        assert stretch.context(("staff",)).groups == ("staff",)
        at += len(stretch.text)
    assert at == len(answer)


def test_what_waits_too_long_is_due_up_to_the_last_word():
    now = 0.0
    window = StreamWindow(max_wait_s=2, clock=lambda: now)
    assert window.push("The answer is forty-t") == []
    assert window.overdue() == []
    now = 2.5
    assert window.due(now)
    assert window.overdue() == [Stretch(text="The answer is ", overlap="")]
    assert window.held == "forty-t"
    assert not window.due(now)
    assert window.push("wo. Yes") == [Stretch(text="forty-two. ", overlap="The answer is ")]
    assert window.flush() == [Stretch(text="Yes", overlap="The answer is forty-two. ")]
    assert not window.due(1e9)


def test_a_number_that_is_being_said_is_not_torn_by_the_wait():
    now = 0.0
    window = StreamWindow(max_wait_s=1, clock=lambda: now)
    window.push("请拨打 138 0013 ")
    now = 5.0
    assert [s.text for s in window.overdue()] == ["请拨打 "]
    assert window.held == "138 0013 "


@pytest.mark.parametrize(("said", "held"), [("he set aB3,", "aB3,"), ("今天，明天;", ";"), ('{"a b":1,"c', '"c')])
def test_after_a_comma_the_wait_tears_nothing_either(said, held):
    now = 0.0
    window = StreamWindow(max_wait_s=1, clock=lambda: now)
    window.push(said)
    now = 5.0
    window.overdue()
    assert window.held == held


@pytest.mark.parametrize("said", ["call (212) ", "to GB29 NWBK ", "NI AB 12 34 56 "])
def test_a_number_in_groups_is_not_torn_by_the_wait_either(said):
    now = 0.0
    window = StreamWindow(max_wait_s=1, clock=lambda: now)
    window.push("Please use this " + said)
    now = 5.0
    head = "".join(s.text for s in window.overdue())
    assert window.held.endswith(said[said.index(" ") + 1 :])
    assert head + window.held == "Please use this " + said


def test_words_in_capitals_are_cut_between_words_and_none_is_held_longer_than_a_stretch():
    text = "THE BANK SAYS THAT GB29 IS A PREFIX AND 2026 A YEAR " * 20
    window = StreamWindow()
    parts = [s.text for char in text for s in window.push(char)]
    assert all(part.endswith(" ") and len(part) <= 240 for part in parts)
    groups = StreamWindow()
    for _ in range(2_000):
        groups.push("A1 ")
        assert len(groups.held) <= 240 + 3


BOUNDS = st.sampled_from([30, 45, 200]).map(
    lambda longest: {"max_characters": 30, "overlap": 12, "longest_token": longest}
)
_ONE_TOKEN = re.compile(r"[A-Za-z0-9_.+/=~:-]+")


@settings(max_examples=300, deadline=None)
@given(ANSWERS, BOUNDS, st.data())
def test_the_stretches_do_not_depend_on_the_chunks(answer, bounds, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=20)))
    chunks = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    whole = stretches([answer], **bounds)
    assert stretches(chunks, **bounds) == whole
    assert stretches(list(answer), **bounds) == whole
    assert "".join(s.text for s in whole) == answer
    assert all(0 < len(s.text) <= bounds["longest_token"] for s in whole)
    assert all(len(s.text) <= 30 or _ONE_TOKEN.fullmatch(s.text) for s in whole)


@settings(max_examples=200, deadline=None)
@given(ANSWERS, st.data())
def test_waiting_too_long_loses_and_repeats_nothing(answer, data):
    now = 0.0
    window = StreamWindow(max_characters=30, overlap=12, max_wait_s=1, clock=lambda: now)
    out = []
    for char in answer:
        out += window.push(char)
        if data.draw(st.booleans()):
            now += 2
            out += window.overdue()
    out += window.flush()
    assert "".join(s.text for s in out) == answer
