"""The fluency phase: plain Chinese and English text, half and half, before any dialogue is learned."""

import random
from collections.abc import Callable, Iterator

from inference.training.corpus import Corpus

VOCABULARY_CHARACTERS = {"zh": 2_500_000, "en": 6_000_000}
"""How much text of each language decides the vocabulary."""


def vocabulary_lines(corpus: Corpus, rng: random.Random) -> Iterator[str]:
    """Yield the lines that the vocabulary is trained on; without line feeds, so that these stay single bytes."""
    for language, budget in VOCABULARY_CHARACTERS.items():
        texts = corpus.fluency[language] + corpus.benign[language]
        rng.shuffle(texts)
        left = budget
        for text in texts:
            yield from text.splitlines()
            left -= len(text)
            if left < 0:
                break


def documents(
    corpus: Corpus, encode: Callable[[str], list[int]], prefix: tuple[int, ...], end: int, rng: random.Random
) -> Iterator[list[int]]:
    """Yield encoded texts without end, the languages balanced by tokens."""
    queues: dict[str, list[str]] = {"zh": [], "en": []}
    written = {"zh": 0, "en": 0}
    while True:
        language = min(written, key=lambda name: written[name])
        if not queues[language]:
            queues[language] = rng.sample(corpus.fluency[language], len(corpus.fluency[language]))
        document = [*prefix, *encode(queues[language].pop()), end]
        written[language] += len(document)
        yield document
