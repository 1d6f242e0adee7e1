"""How people vary a question: case, punctuation, politeness, a slip of the finger."""

import random
import re

_ENGLISH_OPENINGS = ("please ", "hi, ", "hello, ", "can you tell me ", "could you ", "quick question: ", "hey, ")
_CHINESE_OPENINGS = ("请问", "请问一下，", "你好，", "麻烦问一下，", "请", "我想问一下，", "您好，")
_ENGLISH_CLOSINGS = ("?", "?", ".", "!", " please", ", please?", " ?")
_CHINESE_CLOSINGS = ("？", "？", "。", "！", "?", "呢？", "，谢谢")
_CLOSED = re.compile(r"[?.!？。！]$")
_SHORTEST_OPENED = {"en": 12, "zh": 5}
_SHORTEST_SLIP = 10


def varied(question: str, language: str, rng: random.Random) -> str:
    """Return one way in which somebody may type `question`."""
    english = language == "en"
    long_enough = len(question) >= _SHORTEST_OPENED[language]
    if long_enough and rng.random() < 0.2:  # noqa: PLR2004 - shares of each habit, here and below
        opening = rng.choice(_ENGLISH_OPENINGS if english else _CHINESE_OPENINGS)
        question = opening + question
    if not _CLOSED.search(question) and rng.random() < 0.4:  # noqa: PLR2004
        question += rng.choice(_ENGLISH_CLOSINGS if english else _CHINESE_CLOSINGS)
    if english and rng.random() < 0.5:  # noqa: PLR2004
        question = question.lower() if rng.random() < 0.4 else question[0].upper() + question[1:]  # noqa: PLR2004
    if english and len(question) >= _SHORTEST_SLIP and rng.random() < 0.06:  # noqa: PLR2004
        place = rng.randrange(1, len(question) - 1)
        question = question[:place] + question[place + 1 :]
    return question
