"""A quick test for letters that stand one by one; the joining itself is a step of `fold`."""

from functools import cache

from safety.linear import Pattern

_SEPARATOR = (
    r"[ \n\t.*\-‐‒–―_·‧・•|/\\~^+=`'‘’\"#:\x{2190}-\x{22ff}\x{2460}-\x{27bf}\x{2b00}-\x{2bff}\x{1f000}-\x{1faff}]"
)
_PUNCTUATION = r"[,;:!?()\[\]{}<>¥$%&@。〈〉《》「」『』【】〔〕〖〗…—！-／：-＠［-｀｛-･￠-￮]"
_ALONE = rf"(?:^|[^\pL\p{{Nd}}])\pL(?:{_SEPARATOR}{{1,3}}\pL){{2,}}(?:$|[^\pL\p{{Nd}}])"
_ALONE_IN_CHINESE = (
    rf"(?:^|[^\pL\p{{Nd}}])\p{{Han}}(?:(?:{_SEPARATOR}|{_PUNCTUATION}){{1,3}}\p{{Han}}){{4,}}(?:$|[^\pL\p{{Nd}}])"
)


@cache
def _pattern() -> Pattern:
    return Pattern(f"{_ALONE}|{_ALONE_IN_CHINESE}")


def may_be_spaced(raw: bytes) -> bool:
    """Whether `raw` (UTF-8) may hold a run of single letters with separators between them."""
    return _pattern().found_in(raw)
