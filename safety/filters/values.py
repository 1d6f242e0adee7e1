"""Checks for what looks like a secret's value, and for phrases that are only quoted."""

import math
import re
from collections import Counter

from safety.filters.engine import Candidate

_LEAST_BITS = 3.5
_LEAST_BITS_SHORT = 2.5
_LEAST_BITS_HEADER = 3.0
_LEAST_CLASSES = 3
_LONG = 16
_PLACEHOLDER = re.compile(
    r"(?i)^(?:<|\$?\{|\$\(|\[|\(|%\(|\$[A-Za-z_]\w*$|%[A-Za-z_]+%?$)|^(?:x+|\*+|\.+|-+|_+)$"
    r"|your[-_]|change[-_]?me|example|placeholder|dummy|redacted|\*{3,}|x{4,}|\.{3}"
)
_GIVEN = re.compile(r"[\[【][A-Z][A-Z0-9_]{0,60}_[0-9]{1,3}[\]】](?![0-9A-Za-z$#%^+=@\[-])")
"""What stands for a value: a pseudonym (`safety.pseudonyms`), or a place in a form (`[PASSWORD_1]`), whole."""
_COMMON = frozenset(
    [
        "password",
        "passwort",
        "passwd",
        "pass",
        "secret",
        "token",
        "changeme",
        "postgres",
        "admin",
        "root",
        "user",
        "test",
        "guest",
    ]
)
_CODE = re.compile(
    r"^[\w.]+[(\[{]|^(?:None|null|true|false|undefined|string|str)$"
    r"|::|->|\$\{|^[/~]|^[\w-]+\.[a-z]{2,4}$|^_*+[a-z]++(?:_++[a-z0-9]++)*+=|^[a-z]+://"
    r"|\{\w+(?:\.\w+)*[}(]|^[\w.]*\d(?:[A-Z][a-z]{2,}){2,}$"
)
_DOTTED = re.compile(r"^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$")
_NAME = re.compile(r"^\w+(?:[./:-][a-zA-Z]\w*)*$")
_QUOTED_CODE = re.compile(r"^[\w.]+\(.*\)$|^[a-z_]+\||^(?:[/~]|#/|\./)")
"""Calls, rules of a form and paths, as they stand between quotation marks in code."""
_WORD = r"(?:[a-z](?![a-z]))?+(?:[A-Z]*+[a-z]{2,}+|[A-Z]++|\d++(?:[a-z](?![a-z]))?+)*+"
_WORDS = re.compile(rf"{_WORD}(?:[-/.:+_]++{_WORD})++")
"""Names that a program gives to things: `settings.secret_key2`."""
_PIECE = (
    r"(?:(?:[A-Z]?+[a-z]++(?:[A-Z][a-z]{2,}+|[A-Z]{1,3})?|[A-Z]++(?:[a-z]{2,}+)?)?"
    r"\d*+(?:[A-Z]|[a-z]{0,5}|[A-Z]++\d?)|\d++[A-Z]?[a-z]*+|[A-Z][a-z]++\d++[A-Z]++)"
)
_TERM = re.compile(rf"{_PIECE}(?:[-/.:+_]++{_PIECE})++|\w*\d(?:[A-Z][a-z]{{2,}})+\d*|\d+[:.]\d[\w.+~:-]*")
"""Words, abbreviations and numbers put together, as people name things: `ISO-9001:2015`, `HTTP/1.1`, `X448PublicKey`;
and versions: `1:4.13+dfsg1-1`."""
_LONGEST_TERM = 64
_OPENING = r"""[\s\\"'`*\[(（【“‘「『《]*$"""
_SAID = re.compile(
    r"(?i)(?:[:=]|[-=]>|→|<[\w.:-]+>|[是为即就改设置成了系]|\b(?:is|was|now|value)|\s-[pa]|requirepass|\bby"
    r"|\b(?:re)?(?:set|chang)\w*\b.{0,30}\bto)" + _OPENING
)
"""What says that a value follows, right before it; a blank, a comma or a line of a table says little."""
_SAYS_LITTLE = re.compile(r"(?i)\b(?:pass|pw)\b\W*(?:(?:is|was)\W*)?$")
"""A name that is as often another word: `we pass: ...`, `boarding pass: ...`."""
_BEFORE = 40
"""Characters before a value in which that stands."""
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_PART = re.compile(r"[A-Za-z0-9]{20,}")
_DIGITS = re.compile(r"[0-9]+")
_LEAST_DIGIT_GROUPS = 3
_AFTER_TOKEN = re.compile(r"[^A-Za-z0-9._~+/=-]")
_NEXT_PARAMETER = re.compile(r"&[A-Za-z_]\w*=")
_JUDGED = 4_000
"""Characters of a value that are looked at; a longer one is judged by its beginning and cut whole."""
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----$")
_LONGEST_KEY = 64_000
_KEY_RUN = re.compile(r"[A-Za-z0-9+/]{20,}")
_MOST_BETWEEN = 400
"""Characters of headers or comments that may stand between the lines of a key."""
_BETWEEN_LINES = r"(?:[\s>|]|\\[nr])"
_KEY_LINES = re.compile(
    rf"(?:{_BETWEEN_LINES}*+[A-Za-z0-9+/]{{16,}}+={{0,2}})++(?:{_BETWEEN_LINES}*+=?[A-Za-z0-9+/]+={{0,2}})?"
)
_QUOTES = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("「", "」"), ("『", "』"), ("《", "》"), ("`", "`"))


def high_entropy(candidate: Candidate) -> int:
    """Measure a long run that looks random: many different characters, digits among letters."""
    value = candidate.value
    random = _bits(value) >= _LEAST_BITS and any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return len(value) if random and not _PLACEHOLDER.search(value) else 0


def real_value(candidate: Candidate) -> int:
    """Measure a password inside a URL that is no placeholder."""
    value = candidate.value
    return 0 if _PLACEHOLDER.search(value) or value.lower() in _COMMON else len(value)


def private_key(candidate: Candidate) -> int:
    """Measure a key from its first line to its last; where that one is missing, as far as there are lines of a key.

    What stands between them (headers, comments, the signs of a quoted mail) is cut with it.
    """
    value = candidate.value
    if len(value) <= _LONGEST_KEY and _KEY_ENDS.search(value, max(0, len(value) - _MOST_BETWEEN)):
        return len(value)
    at = end = _lines_end(value, value.index("-----", 1) + 5)
    while run := _KEY_RUN.search(value, at, end + _MOST_BETWEEN):
        at = run.end()
        if _looks_random(run[0]):
            at = end = _lines_end(value, run.start())
    return end


def _lines_end(value: str, at: int) -> int:
    """Return where the lines of a key that begin at `at` end; `at` when there are none."""
    lines = _KEY_LINES.match(value, at)
    return lines.end() if lines else at


def secret_value(candidate: Candidate) -> int:
    """Measure what stands after 'password =' and is neither a word, nor code, nor a placeholder.

    A long token is one whatever follows it without a space: the rest of an address, a bracket.
    """
    value = _NEXT_PARAMETER.split(candidate.value, 1)[0].rstrip(".,!?:()")
    judged, token = value[:_JUDGED], _AFTER_TOKEN.split(value, 1)[0]
    if _GIVEN.match(candidate.text, max(0, candidate.start - 1)) or not _is_said(candidate, judged):
        return 0
    if _is_secret(judged) and not _is_code(judged):
        return len(value)
    return len(token) if _has_random_part(token[:_JUDGED]) and _is_secret(token[:_JUDGED]) else 0


def quoted_value(candidate: Candidate) -> int:
    """Measure what stands between quotation marks after 'password =': any sign may be in it, but it is no sentence."""
    value = candidate.value[:_JUDGED]
    named = _NAME.search(value) and (value.isalnum() or _WORDS.fullmatch(value))
    words = " " in value or named or _QUOTED_CODE.search(value)
    found = _is_said(candidate, value) and _is_secret(value) and (not words or _has_random_part(value))
    return len(candidate.value) if found else 0


def credentials(candidate: Candidate) -> int:
    """Measure what a header says after `Bearer` or `Basic`: letters and digits that look random."""
    value = candidate.value[:_JUDGED]
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    words = _PLACEHOLDER.search(value) or _is_term(value)
    return len(candidate.value) if mixed and _bits(value) >= _LEAST_BITS_HEADER and not words else 0


def _is_said(candidate: Candidate, value: str) -> bool:
    """Whether a value may be meant: something says so before it, or nothing but a password or a key looks like it."""
    before = candidate.text[max(0, candidate.start - _BEFORE) : candidate.start]
    little = _SAYS_LITTLE.search(before)
    if little and ("\n" in little[0] or _is_term(value)):
        return False
    if _SAID.search(before):
        return True
    if _UUID.fullmatch(value) or _is_term(value):
        return False
    return _classes(value) >= _LEAST_CLASSES or _has_random_part(value)


def _is_term(value: str) -> bool:
    return len(value) <= _LONGEST_TERM and bool(_TERM.fullmatch(value.rstrip("]}")))


def _is_code(value: str) -> bool:
    return bool(_CODE.search(value) or (_DOTTED.search(value) and _WORDS.fullmatch(value)))


def _is_secret(value: str) -> bool:
    if _PLACEHOLDER.search(value) or not value.isascii():
        return False
    if not (any(map(str.isdigit, value)) and any(map(str.isalpha, value))):
        return False
    if len(value) >= _LONG:
        return _bits(value) >= _LEAST_BITS_SHORT + 0.5
    return _classes(value) >= _LEAST_CLASSES and _bits(value) >= _LEAST_BITS_SHORT


def _classes(value: str) -> int:
    """Return how many kinds of signs there are: digits, small and capital letters, others."""
    kinds = (str.isdigit, str.islower, str.isupper, lambda c: not c.isalnum())
    return sum(any(map(kind, value)) for kind in kinds)


def _has_random_part(value: str) -> bool:
    """Whether a stretch of letters and digits is no name of anything: a value with one is not code for its dots."""
    return any(map(_looks_random, _PART.findall(value)))


def _looks_random(part: str) -> bool:
    return len(_DIGITS.findall(part)) >= _LEAST_DIGIT_GROUPS and _bits(part) >= _LEAST_BITS


def not_quoted(candidate: Candidate) -> int:
    """Measure a phrase that is said, not one that stands alone between quotation marks to be talked about."""
    before = candidate.text[max(0, candidate.start - 1) : candidate.start]
    after = candidate.text[candidate.end : candidate.end + 1]
    return 0 if (before, after) in _QUOTES else len(candidate.value)


def _bits(value: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
