"""Sums of small numbers as questions and answers, in both languages."""

import random

_ENGLISH = ("what is {}", "how much is {}", "{} = ?", "calculate {}", "{}", "what's {}?", "can you compute {}")
_CHINESE = ("{}等于多少", "{}等于几", "{}=?", "计算{}", "{}", "{}是多少", "请算一下{}")
_SPOKEN = {
    "en": {"+": ("+", "plus"), "-": ("-", "minus"), "×": ("*", "×", "times"), "÷": ("/", "÷", "divided by")},
    "zh": {"+": ("+", "加"), "-": ("-", "减"), "×": ("*", "×", "乘", "乘以"), "÷": ("/", "÷", "除以")},
}
LARGEST_SUM_TERM, LARGEST_FACTOR = 20, 10


def sum_exchange(language: str, rng: random.Random) -> tuple[str, str]:
    """Return a question and its answer: terms up to 20, factors up to 10."""
    sign = rng.choice("++--×÷")
    if sign in "+-":
        left, right = rng.randint(0, LARGEST_SUM_TERM), rng.randint(0, LARGEST_SUM_TERM)
        if sign == "-" and left < right:
            left, right = right, left
        result = left + right if sign == "+" else left - right
    else:
        left, right = rng.randint(1, LARGEST_FACTOR), rng.randint(1, LARGEST_FACTOR)
        result = left * right
        if sign == "÷":
            left, result = result, left
    spoken = rng.choice(_SPOKEN[language][sign])
    space = " " if language == "en" or rng.random() < 0.5 else ""  # noqa: PLR2004 - a coin
    question = rng.choice(_ENGLISH if language == "en" else _CHINESE).format(f"{left}{space}{spoken}{space}{right}")
    return question, f"{left} {sign} {right} = {result}"
