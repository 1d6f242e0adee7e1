"""Checks for what looks like a secret's value, and for phrases that are only quoted."""

import math
import re
from collections import Counter

from safety.filters.engine import Candidate

_LEAST_BITS = 3.5
_LEAST_BITS_SHORT = 2.5
_LEAST_CLASSES = 3
_LONG = 16
_PLACEHOLDER = re.compile(
    r"(?i)[<{$%\[(]|^(?:x+|\*+|\.+|-+|_+)$|your[-_]|change[-_]?me|example|placeholder|dummy|redacted|\*{3,}|x{4,}|\.{3}"
)
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
_CODE = re.compile(r"[()\[\]{}<>]|\w\.[A-Za-z_]\w*|^(?:None|null|true|false|undefined|string|str)$|::|->")
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


def secret_value(candidate: Candidate) -> int:
    """Measure what stands after 'password =' and is neither a word, nor code, nor a placeholder."""
    value = candidate.value.rstrip(".,!?")
    if _PLACEHOLDER.search(value) or _CODE.search(value) or not value.isascii():
        return 0
    kinds = (str.isdigit, str.islower, str.isupper, lambda c: not c.isalnum())
    classes = sum(any(map(kind, value)) for kind in kinds)
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    if not mixed:
        return 0
    if len(value) >= _LONG:
        return len(value) if _bits(value) >= _LEAST_BITS_SHORT + 0.5 else 0
    return len(value) if classes >= _LEAST_CLASSES and _bits(value) >= _LEAST_BITS_SHORT else 0


def not_quoted(candidate: Candidate) -> int:
    """Measure a phrase that is said, not one that stands alone between quotation marks to be talked about."""
    before = candidate.text[max(0, candidate.start - 1) : candidate.start]
    after = candidate.text[candidate.end : candidate.end + 1]
    return 0 if (before, after) in _QUOTES else len(candidate.value)


def _bits(value: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())
