"""The exact bytes of a leaf: RFC 8785 canonical JSON of an entry, made once and never made again.

Texts are not in it (their commitments are). The leaf hash is that of RFC 6962, section 2.1:
SHA-256 over 0x00 and the leaf.
"""

import hashlib
import json
import re
from datetime import UTC
from typing import Any

import msgspec
import rfc8785

from audit.record import Entry

EXACT_INTEGER = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly (RFC 8785, section 3.2.2.3); larger ones become strings."""
_LONGEST_COLUMN = 256
_KEPT_OF_LONG_COLUMN = 160
_ESCAPED_COLUMN = "\ufdd0"
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")
_UNFIT_FOR_COLUMN = re.compile("[\x00\ud800-\udfff]")


LONGEST_LEAF = 2**24
"""Bytes. A verifier reads lines of four times as much (`audit.verify`): what it could not read is never written."""


class UnrecordableError(ValueError):
    """The entry has a value that canonical JSON cannot hold; the message names the field, not the value."""


def leaf_of(entry: Entry) -> bytes:
    """Return the leaf of an entry whose id, commitments and context are filled in; texts are left out.

    Raises `UnrecordableError` for a time without zone, for numbers that JSON has not (NaN, infinity) and for more than
    `LONGEST_LEAF` bytes.
    """
    if entry.at.tzinfo is None:
        raise UnrecordableError("an entry's time needs a time zone")
    bare = msgspec.structs.replace(entry, at=entry.at.astimezone(UTC), contents=(), dialogue=(), escaped=False)
    try:
        fields: dict[str, Any] = msgspec.to_builtins(bare)
    except (TypeError, ValueError) as error:
        raise UnrecordableError("an entry has a value of a type that a leaf cannot hold") from error
    try:
        leaf = canonical_json(fields)
    except UnicodeEncodeError:
        fields = _map_texts(fields, escape)
        fields["escaped"] = True
        leaf = canonical_json(fields)
    if len(leaf) > LONGEST_LEAF:
        raise UnrecordableError(f"an entry is longer than {LONGEST_LEAF} bytes")
    return leaf


def entry_of(leaf: bytes) -> Entry:
    """Return the entry that a leaf holds, without texts."""
    entry = msgspec.json.decode(leaf, type=Entry)
    if not entry.escaped:
        return entry
    fields = _map_texts(json.loads(leaf), unescape)
    fields["escaped"] = False
    return msgspec.convert(fields, type=Entry)


def leaf_hash(leaf: bytes) -> bytes:
    """Return the RFC 6962 leaf hash."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def canonical_json(fields: dict[str, Any]) -> bytes:
    """Return RFC 8785 bytes; integers beyond 2^53 - 1 become strings.

    The standard encoder (in C) gives the same bytes wherever keys are ASCII and numbers need no exponent; the rest goes
    to the library that follows the RFC to the letter. A property test holds the two together.
    Raises `UnicodeEncodeError` for lone surrogates, `UnrecordableError` for NaN and infinity.
    """
    plain, simple = _plain(fields)
    if simple:
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    json.dumps(plain, ensure_ascii=False).encode()  # lone surrogates raise the same error on both ways
    return rfc8785.dumps(plain)


def _plain(value: Any) -> tuple[Any, bool]:
    """Return the value with numbers as canonical JSON writes them, and whether the fast encoder may be used."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value, True
    if kind is int:
        return (value if -EXACT_INTEGER <= value <= EXACT_INTEGER else str(value)), True
    if kind is float:
        return _plain_float(value)
    if kind is dict:
        simple = True
        out: dict[str, Any] = {}
        for key, inner in value.items():
            out[key], fits = _plain(inner)
            simple = simple and fits and key.isascii()
        return out, simple
    if kind in (list, tuple):
        pairs = [_plain(inner) for inner in value]
        return [inner for inner, _ in pairs], all(fits for _, fits in pairs)
    for plain in (str, int, float):
        if isinstance(value, plain):  # a subclass: an enumeration, a number of another library
            return _plain(plain(value))
    raise UnrecordableError(f"a leaf cannot hold a {kind.__name__}")


def _plain_float(value: float) -> tuple[int | float, bool]:
    if value.is_integer() and abs(value) <= EXACT_INTEGER:
        return int(value), True
    written = repr(value)
    if written in ("nan", "inf", "-inf"):
        raise UnrecordableError("a leaf cannot hold a number that is not finite")
    return value, "e" not in written and not value.is_integer()  # the fast encoder writes a whole one with .0


def escape(text: str) -> str:
    r"""Write lone surrogates, which UTF-8 cannot hold, as `\udxxx`, and each backslash as two; `unescape` undoes it.

    A leaf that needed it says `"escaped":true`, and then every text and key in it is written so.
    """
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\\", "\\\\"))


def unescape(text: str) -> str:
    """Undo `escape`."""
    return _ESCAPE.sub(lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)), text)


def _map_texts(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _map_texts(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_map_texts(inner, change) for inner in value]
    return value


def text_bytes(text: str) -> bytes:
    """Return a text's bytes, lone surrogates included: what is committed to and encrypted."""
    return text.encode("utf-8", "surrogatepass")


def bytes_text(data: bytes) -> str:
    """Undo `text_bytes`."""
    return data.decode("utf-8", "surrogatepass")


def commitment(nonce: bytes, text: bytes) -> str:
    """Return the commitment to a text: SHA-256, as hex, over a random 32-byte nonce and the text."""
    return hashlib.sha256(nonce + text).hexdigest()


def column(text: str) -> str:
    """Return a value as the columns hold it that lists filter on: short, and free of what a database refuses.

    Different texts stay different (long ones by their SHA-256). The leaf has the text itself.
    """
    if len(text) <= _LONGEST_COLUMN and text.isascii() and text.isprintable():
        return text  # nearly every value: three checks that cost nothing
    if len(text) > _LONGEST_COLUMN or text.startswith(_ESCAPED_COLUMN) or _UNFIT_FOR_COLUMN.search(text):
        digest = hashlib.sha256(text_bytes(text)).hexdigest()
        kept = _UNFIT_FOR_COLUMN.sub("\ufffd", text[:_KEPT_OF_LONG_COLUMN])
        return f"{_ESCAPED_COLUMN}{kept}\ufdd1{digest}"
    return text
