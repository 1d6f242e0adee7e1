"""Chinese words by jieba's dictionary; its own module because importing jieba is slow and warns."""

from collections.abc import Iterator

import jieba  # type: ignore[import-untyped]


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text, other stretches as they are."""
    yield from jieba.cut(text, HMM=False)
