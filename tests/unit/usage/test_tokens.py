"""What a turn holds of its budget before the model has counted."""

import pytest

from gateway.usage.tokens import PER_MESSAGE, most_tokens


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("", 0),
        ("Plan the move.", 14),
        ("请帮我写一封邮件，谢谢！", 12),
        ("好🎉", 1 + 4),
        ("𠮷野家", 4 + 2),
        ("สวัสดี", 18),
        ("\ud800", 3),
    ],
)
def test_what_is_taken_apart_into_bytes_counts_as_bytes(text: str, most: int) -> None:
    assert most_tokens([text]) == most + PER_MESSAGE


def test_each_message_has_tokens_of_its_own() -> None:
    assert most_tokens(["a"] * 199) == 199 * (1 + PER_MESSAGE)
