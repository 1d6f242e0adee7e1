"""Text of others on a terminal."""

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Return text as one line that cannot drive the terminal: control and direction characters become escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
