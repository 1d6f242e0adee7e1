"""How many tokens a dialogue may have at most, as far as that can be said without the model's tokenizer. Pure."""

import re
from collections.abc import Iterable

PER_MESSAGE = 8
"""Tokens that a message has beside its text: who speaks, where it begins and ends."""
_DEAR = re.compile("[^\x00-\x7f\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")
"""What tokenizers may take apart into bytes: emoji, rare characters, and scripts that they were not made for."""


def most_tokens(texts: Iterable[str]) -> int:
    """Return a bound of the tokens of messages: one a character, and one a byte of UTF-8 where characters are rarer."""
    return sum(PER_MESSAGE + _most(text) for text in texts)


def _most(text: str) -> int:
    dear = "".join(_DEAR.findall(text))
    return len(text) - len(dear) + len(dear.encode("utf-8", "surrogatepass"))
