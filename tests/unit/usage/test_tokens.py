"""What a turn holds of its budget before the model has counted."""

import random

import pytest

from gateway.usage.tokens import PER_MESSAGE, likely_tokens, most_tokens
from inference.chatglm3.tokenizer import Tokenizer
from tests.unit.inference.reference import reference

PLANE = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("", 0),
        ("Plan the move.", 14),
        ("请帮我写一封邮件，谢谢！", 12),
        ("好🎉", 1 + 4),
        ("𠮷野家", 4 + 2),
        ("สวัสดี", 18),
        ("龘靐齉", 9),
        ("請幫我寫一封電子郵件，謝謝！", 14),
        ("他说：“好……”", 8),
        ("〇〓", 1 + 3),
        ("\ud800", 3),
    ],
)
def test_what_is_taken_apart_into_bytes_counts_as_bytes(text: str, most: int) -> None:
    assert most_tokens([text]) == most + PER_MESSAGE


def test_each_message_has_tokens_of_its_own() -> None:
    assert most_tokens(["a"] * 199) == 199 * (1 + PER_MESSAGE)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(reference("tokenizer.model"))


def test_no_character_takes_more_tokens_than_are_held_for_it(tokenizer: Tokenizer) -> None:
    beside = len(tokenizer.encode("a"))
    dearer = [
        char
        for char in PLANE
        if len(tokenizer.encode(f"a{char}")) - beside > most_tokens([char]) - PER_MESSAGE
        or len(tokenizer.encode("a" + 10 * char)) - beside > most_tokens([10 * char]) - PER_MESSAGE
    ]
    assert not dearer


def test_characters_that_stand_together_take_no_more_tokens_than_are_held_for_them(tokenizer: Tokenizer) -> None:
    shuffled = PLANE[:]
    random.Random(7).shuffle(shuffled)
    texts = ["".join(shuffled[at : at + 50]) for at in range(0, len(shuffled), 50)]
    assert all(len(tokenizer.encode(text)) <= most_tokens([text]) for text in texts)


@pytest.mark.parametrize(
    ("text", "likely"),
    [("", 0), ("Plan the move.", 8), ("13812345678", 11), ("请帮我写一封邮件", 6), ("好🎉", 1 + 4), ("\ud800", 3)],
)
def test_words_take_fewer_tokens_than_they_may(text: str, likely: int) -> None:
    assert likely_tokens(text) == likely + PER_MESSAGE <= most_tokens([text])
