"""The one reading of a text that every guard shares: `normalise(text) -> NormalisedText`.

`VERSION` stands in every audit record; raise it with any change that can change a verdict.
"""

import unicodedata

from safety.normalising.text import NormalisedText, Segment

__all__ = ["VERSION", "NormalisedText", "Segment", "normalise"]

VERSION = "1"


def normalise(text: str) -> NormalisedText:
    """Read `text` as guards shall see it; linear in its length, never raises."""
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")
    folded = "".join(c if len(k := unicodedata.normalize("NFKC", c)) != 1 else k for c in clean)
    return NormalisedText(original=text, text=folded, changes=() if folded == text else ("compatibility",))
