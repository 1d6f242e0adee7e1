"""What SQL counts as a word is what the real server's analyser does."""

import random
import unicodedata
from bisect import bisect_right

from audit.search.words import Words, words_of
from tests.rig.elasticsearch import ElasticsearchServer
from tests.unit.audit.search.test_words import CASES

TEXTS = (
    *CASES,
    "It's 9 o'clock; e.g. 3,141.59 (or 2½) — www.example.org/path?q=1&r=2 #tag @user 50% $7.00 C++ a_b __init__",
    "中文English混排，第3章：“引号”、《书名》。１２３ＡＢＣ　全角空格",
    "日本語のテキストとカタカナ・ー 한국어 텍스트 ภาษาไทยง่าย Ελληνικά Кириллица עברית العَرَبِيَّة",
    "naïve café re\u0301sume\u0301 \u200bzero\u200dwidth soft\u00adhyphen ﬁ ＿x＿ 〇々",
)
ALPHABET = "aBz9_.,:;'\u2019-\" /\n你好、。ひカーー한á\u0301Яא٣๑กา\u200d½²Ⓐ①"


def tokens(server: ElasticsearchServer, texts: list[str]) -> list[list[str]]:
    """One call for all: positions of different texts lie far apart."""
    answer = server.call("POST", "/_analyze", {"analyzer": "standard", "text": texts})["tokens"]
    found: list[list[str]] = [[] for _ in texts]
    starts, at = [], 0
    for text in texts:
        starts.append(at)
        at += len(text.encode("utf-16-le")) // 2 + 1
    for token in answer:
        which = bisect_right(starts, token["start_offset"]) - 1
        found[which].append(token["token"])
    return found


def test_words_are_cut_alike(elastic_server: ElasticsearchServer):
    for text, expected in zip(TEXTS, tokens(elastic_server, list(TEXTS)), strict=True):
        assert words_of(text) == expected, text


def test_random_texts_are_cut_alike(elastic_server: ElasticsearchServer):
    dice = random.Random(5)
    texts = ["".join(dice.choices(ALPHABET, k=dice.randrange(1, 12))) for _ in range(400)]
    wrong = {
        text: (words_of(text), expected)
        for text, expected in zip(texts, tokens(elastic_server, texts), strict=True)
        if words_of(text) != expected
    }
    assert not wrong


def test_every_character_of_the_common_planes_has_the_same_class(elastic_server: ElasticsearchServer):
    """Each between two letters and alone; Unicode assigns more each year, so what neither knows is left out."""
    chars = [chr(code) for code in (*range(0x20, 0xD800), *range(0xE000, 0xFFFE)) if known(chr(code))]
    texts = [f"a{char}a {char}" for char in chars]
    differing = []
    for start in range(0, len(texts), 1500):
        part = texts[start : start + 1500]
        words = Words()
        for text, expected in zip(part, tokens(elastic_server, part), strict=True):
            if words.of(text) != expected:
                differing.append((text[1], f"{ord(text[1]):04x}", words.of(text), expected))
    assert not differing, (len(differing), differing[:40])


def known(char: str) -> bool:
    return unicodedata.ucd_3_2_0.category(char) != "Cn"
