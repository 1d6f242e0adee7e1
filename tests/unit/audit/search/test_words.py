"""Words as a search counts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.search.words import LONGEST_WORD, Phrase, words_of

CASES = {
    "Hello, World's 3.14 a.b x_y_ foo:bar 1,000": ["hello", "world's", "3.14", "a.b", "x_y_", "foo:bar", "1,000"],
    "你好，世界！": ["你", "好", "世", "界"],
    "ひらカタカナ": ["ひ", "ら", "カタカナ"],
    "e-mail a@b.org": ["e", "mail", "a", "b.org"],
    "e\u0301té d\u2019été": ["e\u0301té", "d\u2019été"],
    "_ ... \u200b": [],
    "GPT4模型v2": ["gpt4", "模", "型", "v2"],
    "한글 ΟΔΟΣ İ": ["한글", "οδοσ", "i"],
    "１２３ ＡＢＣ": ["１２３", "ａｂｃ"],
}


@pytest.mark.parametrize(("text", "words"), CASES.items())
def test_words(text: str, words: list[str]):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("phrase", "text", "found"),
    [
        ("人工智能", "什么是人工智能？", True),
        ("人工智能", "什么是人工，智能？", True),
        ("人工智能", "智能人工", False),
        ("the sea", "on THE  sea-shore", True),
        ("the sea", "the seas", False),
        ("sea the", "the sea", False),
        ("the the sea", "on the the the sea", True),
        ("!", "!", False),
    ],
)
def test_a_phrase_is_its_words_one_after_another(phrase: str, text: str, found: bool):
    assert Phrase(phrase).stands_in(text) is found


@given(st.text(), st.text(), st.text())
def test_what_stands_between_spaces_is_found(before: str, text: str, after: str):
    whole = f"{before} {text} {after}"
    assert Phrase(text).stands_in(whole) is bool(words_of(text))


@given(st.text())
def test_words_are_pieces_of_the_text(text: str):
    words = words_of(text)
    assert all(word and len(word) <= LONGEST_WORD for word in words)
    assert sum(map(len, words)) <= len(text)


def test_long_words_are_cut():
    assert [len(word) for word in words_of("x" * 600)] == [255, 255, 90]
