"""Our own dialogues: the format, and what every record must keep."""

import random
import re

import pytest

from inference.training.arithmetic import sum_exchange
from inference.training.dialogues import DialogueError, fill, read_dialogues, read_file
from inference.training.wordings import varied

HAN = re.compile(r"[\u4e00-\u9fff]")
DIALOGUES = read_dialogues()
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_there_is_enough_to_say_in_each_language(language):
    records = [record for record in DIALOGUES.records if record.language == language]
    assert sum(max(1, len(record.rows)) for record in records) >= 300
    assert len(DIALOGUES.fallback[language]) >= 10
    assert len(DIALOGUES.refusal[language]) >= 5
    assert sum(len(record.turns) > 1 for record in records) >= 8


def test_every_answer_is_in_the_language_of_its_file():
    for record in DIALOGUES.records:
        for answer in (answer for turn in record.turns for answer in turn.answers):
            prose = CODE.sub("", answer)
            if record.language == "zh":
                assert HAN.search(prose) or not re.search(r"[a-z]{4}", prose), record.name
            else:
                assert len(HAN.findall(prose)) <= 2, record.name


def test_rows_fill_every_placeholder():
    for record in DIALOGUES.records:
        for row in record.rows or [[]]:
            for turn in record.turns:
                for text in turn.questions + turn.answers:
                    assert not re.search(r"\{\d\}", fill(text, row)), (record.name, text)


def test_no_question_has_two_different_meanings_in_one_language():
    seen = {}
    for record in DIALOGUES.records:
        if len(record.turns) > 1:
            continue
        for row in record.rows or [[]]:
            for question in record.turns[0].questions + record.turns[0].held_out:
                key = (record.language, fill(question, row).casefold())
                assert seen.setdefault(key, record.name) == record.name, key


def _luhn(digits):
    doubled = [int(d) if place % 2 == 0 else sum(divmod(2 * int(d), 10)) for place, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _resident_check(number):
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return "10X98765432"[sum(w * int(d) for w, d in zip(weights, number[:17], strict=True)) % 11] == number[17]


def test_the_invented_numbers_have_right_check_digits():
    answers = "\n".join(answer for record in DIALOGUES.records for turn in record.turns for answer in turn.answers)
    residents = set(re.findall(r"(?<!\d)\d{17}[\dX](?!\d)", answers))
    cards = set(re.findall(r"(?<!\d)\d{19}(?!\d)|\d{4} \d{4} \d{4} \d{4}", answers))
    assert len(residents) >= 2
    assert len(cards) >= 2
    assert all(map(_resident_check, residents))
    assert all(_luhn(card.replace(" ", "")) for card in cards)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("en_x.txt", "? a question before any record\n= an answer\n"),
        ("en_x.txt", "%% no answer\n? a question\n"),
        ("en_x.txt", "%% loose text\nnot marked\n? a\n= b\n"),
        ("de_x.txt", "%% another language\n? a\n= b\n"),
    ],
)
def test_a_file_that_breaks_the_format_is_refused_by_name(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DialogueError, match=name):
        read_file(tmp_path / name)


def test_turns_rows_and_several_answers_are_read(tmp_path):
    path = tmp_path / "en_x.txt"
    path.write_text("%% r\n@ a | b\n? q {0} | r {0}\n= one\n\ntwo {1}\n= three\n? next\n= last\n", encoding="utf-8")
    (record,) = read_file(path)
    assert record.rows == [["a", "b"]]
    assert record.turns[0].questions == ["q {0}", "r {0}"]
    assert record.turns[0].answers == ["one\n\ntwo {1}", "three"]
    assert record.turns[1].answers == ["last"]


def test_the_seventh_wording_is_held_out(tmp_path):
    path = tmp_path / "zh_x.txt"
    path.write_text("%% r\n? 一 | 二 | 三 | 四 | 五 | 六 | 七\n= 好\n", encoding="utf-8")
    (record,) = read_file(path)
    assert record.turns[0].held_out == ["七"]
    assert "七" not in record.turns[0].questions


@pytest.mark.parametrize("language", ["en", "zh"])
def test_sums_are_right(language):
    rng = random.Random(5)
    for _ in range(300):
        question, answer = sum_exchange(language, rng)
        sides = answer.replace("×", "*").replace("÷", "/").split("=")
        left, sign, right = re.fullmatch(r"(\d+) ([-+*/]) (\d+)", sides[0].strip()).groups()
        expected = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
        assert int(sides[1]) == (expected[sign] if sign != "/" else int(left) // int(right))
        assert left in question
        assert right in question


def test_variations_keep_short_questions_recognisable():
    rng = random.Random(2)
    assert {varied("你好", "zh", rng)[:2] for _ in range(50)} == {"你好"}
    assert all("hi" in varied("hi", "en", rng).lower() for _ in range(50))
