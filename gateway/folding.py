"""Texts that are the same where neither case nor the form of an accent counts."""

from collections.abc import Callable
from unicodedata import normalize

from gateway.settings import ScimSubject


def folded(text: str) -> str:
    """Return what a text is compared by where case does not count (RFC 7643, section 2.2), in one form (NFC)."""
    return normalize("NFC", normalize("NFC", text).casefold())


def fold_of(subject: ScimSubject) -> Callable[[str], str]:
    """Return what makes subjects that are one person the same text: user names are looked up as the directory does."""
    return folded if subject is ScimSubject.USER_NAME else str
