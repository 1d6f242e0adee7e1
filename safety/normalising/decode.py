"""Texts hidden inside a text: base64, hex, URL and HTML forms, escapes, tag characters, variation selectors."""

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from urllib.parse import unquote_to_bytes

import msgspec

from safety.linear import Pattern
from safety.normalising.text import characters_at

MAX_DEPTH = 3
MAX_SEGMENTS = 32
MAX_CHARACTERS = 1_000_000
_LEAST_LETTERS = 3
_LEAST_PRINTABLE = 0.9
_LEAST_WORDLIKE = 0.7

_B64 = r"[A-Za-z0-9+/_-]"
# Zeros in front are as many as one likes, and a number needs no `;` to end: browsers read both. A space behind a number
# stays in the text, so that letters written so stand one by one, and are joined like any others.
_ENTITY = r"(?:(?:#0*[0-9]{2,7}|#[xX]0*[0-9A-Fa-f]{2,6});?\s?|[A-Za-z]{2,8};)"
_FORMS = {
    "url": r"""[^\s"'<>%]*(?:%[0-9A-Fa-f]{2}[^\s"'<>%]*){2,}""",
    "html": rf"(?:[^\s&]{{0,40}}&{_ENTITY})+[^\s&]{{0,40}}",
    "escape": (
        r"(?:[^\s\\]{0,40}\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|u\{[0-9A-Fa-f]{1,6}\})){2,}"
        r"[^\s\\]{0,40}"
    ),
    "hex": r"(?:0x)?(?:[0-9A-Fa-f]{2}[ :,-]{0,2}(?:0x)?){6,}",
}
_BASE64 = rf"{_B64}{{16,}}(?:\r?\n{_B64}{{16,}})*(?:\r?\n{_B64}{{2,15}})?={{0,2}}|{_B64}{{6,15}}={{1,2}}"
# From token starts only, and every repeat ends where its class ends: linear also in a backtracking engine, which is
# three times as fast as RE2's Python binding on many small matches.
_BASE64_TOKEN = re.compile(rf"(?<!{_B64})(?:{_BASE64})", re.ASCII)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|u\{([0-9A-Fa-f]{1,6})\})")
_ZEROS = re.compile(r"(&#[xX]?)0+(?=[0-9A-Fa-f])")
"""Zeros before a number: Python reads no number of thousands of digits."""
_NOT_HEX = re.compile(r"0x|[^0-9A-Fa-f]")
_CONTROLS = bytes([*range(9), 11, 12, *range(14, 32), 127])
# GB 2312: ASCII, punctuation and the 3,755 everyday characters. Any noise is valid in the whole of GB 18030.
_COMMON_CHINESE = re.compile(rb"(?:[\x00-\x7f]|[\xa1\xa3\xb0-\xd6][\xa1-\xfe]|\xd7[\xa1-\xf9])+")
_ASCII = re.compile(rb"[\x00-\x7f]+")
_LEAST_CHINESE = 0.6
_HAN = re.compile(r"[\u3400-\u9fff]+")
_SCRIPTS = tuple(
    re.compile(f"[{letters}]")
    for letters in (
        "\u00c0-\u024f\u1e00-\u1eff",
        "\u0370-\u03ff",
        "\u0400-\u04ff",
        "\u3040-\u30ff\u3400-\u9fff",
        "\uac00-\ud7af",
    )
)
_OTHER_SCRIPT = re.compile(
    "[\u0250-\u036f\u0500-\u05cf\u0700-\u08ff\u0fd0-\u1cff\u3130-\u31ff\ua000-\uabff\ue000-\uf8ff]"
)
_NOISE_BYTES = 24
"""So many bytes and more are no UTF-8 by chance."""
_CODED = re.compile(rf"%[0-9A-Fa-f]{{2}}|&{_ENTITY}|\\(?:x[0-9A-Fa-f]{{2}}|u[0-9A-Fa-f]{{4}})")
_MOST_PLAIN_OF_CODED = 0.5
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_NOT_WORDLIKE = re.compile(r"[^\w\s,.，。]+|[\x80-\x9f]+")
_TAGS = re.compile("[\U000e0020-\U000e007e]{3,}")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")


class Hidden(msgspec.Struct, frozen=True):
    """A decoded text and the span of its encoded form in the text it was found in."""

    kind: str
    text: str
    start: int
    end: int


@cache
def _any_form() -> Pattern:
    return Pattern("|".join([*_FORMS.values(), _BASE64]))


def may_hide(raw: bytes) -> bool:
    """Whether something encoded may stand in `raw` (UTF-8): a quick test."""
    return _any_form().found_in(raw)


def hidden_in(text: str) -> Iterator[Hidden]:
    """Yield every encoded stretch of `text` that decodes to readable text; one layer."""
    for kind, spans in (*_encoded_by_form(text), ("base64", (m.span() for m in _BASE64_TOKEN.finditer(text)))):
        decoder = _DECODERS[kind]
        for start, end in spans:
            token = text[start:end]
            decoded = decoder(token)
            if decoded is not None and decoded != token and _readable(decoded):
                yield Hidden(kind, decoded, start, end)


def _encoded_by_form(text: str) -> Iterator[tuple[str, Iterable[tuple[int, int]]]]:
    raw = text.encode("utf-8")
    for kind, pattern in _patterns():
        spans = list(pattern.spans(raw))
        if spans and len(raw) != len(text):
            places = characters_at(raw, [place for span in spans for place in span])
            spans = list(zip(places[::2], places[1::2], strict=True))
        yield kind, spans


def hidden_in_controls(original: str) -> Iterator[Hidden]:
    """Yield texts written in invisible characters of the original: tag characters and variation selectors."""
    for found in _TAGS.finditer(original):
        yield Hidden("tags", "".join(chr(ord(c) - 0xE0000) for c in found.group()), *found.span())
    for found in _SELECTORS.finditer(original):
        raw = bytes(_selector_byte(ord(c)) for c in found.group())
        if _readable(text := raw.decode("utf-8", "ignore")):
            yield Hidden("selectors", text, *found.span())


@cache
def _patterns() -> tuple[tuple[str, Pattern], ...]:
    return tuple((kind, Pattern(pattern)) for kind, pattern in _FORMS.items())


def _selector_byte(code: int) -> int:
    return code - 0xFE00 if code < 0xE0100 else code - 0xE0100 + 16  # noqa: PLR2004 - VS1-16, then VS17-256


def _from_url(token: str) -> str | None:
    return _as_text(unquote_to_bytes(token))


def _from_html(token: str) -> str | None:
    return html.unescape(_ZEROS.sub(r"\1", token))


def _from_escapes(token: str) -> str | None:
    return _ESCAPE.sub(lambda m: _character(next(filter(None, m.groups()))), token)


def _character(digits: str) -> str:
    code = int(digits, 16)
    return chr(code) if 0 < code < 0xD800 or 0xE000 <= code < 0x110000 else "\ufffd"  # noqa: PLR2004 - Unicode's bounds


def _from_hex(token: str) -> str | None:
    digits = _NOT_HEX.sub("", token)
    return _as_text(bytes.fromhex(digits[: len(digits) & ~1]))


def _from_base64(token: str) -> str | None:
    """Decode a token that may be wrapped; a line that only stands below it is no part of it."""
    lines = token.split()
    whole = _from_base64_line("".join(lines))
    if len(lines) == 1 or (whole is not None and _readable(whole)):
        return whole
    parts = [part for part in map(_from_base64_line, lines) if part is not None and _readable(part)]
    return "\n".join(parts) or None


def _from_base64_line(line: str) -> str | None:
    body = line.rstrip("=").replace("-", "+").replace("_", "/")
    body = body[: len(body) - 1] if len(body) % 4 == 1 else body
    try:
        return _as_text(base64.b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return None


_DECODERS: dict[str, Callable[[str], str | None]] = {
    "url": _from_url,
    "html": _from_html,
    "escape": _from_escapes,
    "hex": _from_hex,
    "base64": _from_base64,
}


def _as_text(raw: bytes) -> str | None:
    sample = raw[:4096]
    if len(sample.translate(None, _CONTROLS)) < _LEAST_PRINTABLE * len(sample):
        return None
    if raw.isascii():
        return raw.decode("ascii")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        chinese = _COMMON_CHINESE.fullmatch(raw) and len(_ASCII.sub(b"", raw)) >= _LEAST_CHINESE * len(raw)
        return raw.decode("gb2312") if chinese else None
    return text if len(raw) >= _NOISE_BYTES or _of_one_script(text) else None


def _of_one_script(text: str) -> bool:
    """Tell a text in some language from bytes that happen to be UTF-8: those mix scripts and rare characters."""
    used = sum(pattern.search(text) is not None for pattern in _SCRIPTS)
    han = "".join(_HAN.findall(text))
    common = han.encode("gb2312", "ignore") or han.encode("big5", "ignore")
    return used <= 1 and len(common) >= len(han) and _OTHER_SCRIPT.search(text) is None


def _readable(text: str) -> bool:
    """Tell text from the noise that any long identifier decodes to."""
    sample = text[:4096]
    if len(_CODED.sub("", sample)) <= _MOST_PLAIN_OF_CODED * len(sample):
        return True  # the next layer
    letters = len(_NOT_LETTERS.sub("", sample))
    if letters < _LEAST_LETTERS and letters < len(sample):
        return False
    return len(_NOT_WORDLIKE.sub("", sample)) >= _LEAST_WORDLIKE * len(sample)
