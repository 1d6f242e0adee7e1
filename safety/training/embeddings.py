"""First embeddings for the Chinese tokens, so that an English encoder understands something of them at once.

A Chinese token starts near the English words that gloss it: our own glossary for words, Unicode's `kDefinition`
(Unihan database, optional file) for characters. Tokens without a gloss are placed by the company they keep: a
truncated SVD of their PPMI co-occurrences, mapped by ridge regression onto the glossed ones (after WECHSEL,
Minixhofer et al. 2022).
"""

import bz2
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.utils.extmath import randomized_svd  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from safety.classifier.tokenise import is_han

Matrix = NDArray[np.float32]

UNIHAN = Path("/usr/share/unicode/Unihan_Readings.txt.bz2")
"""Where Debian's `unicode-data` puts the file."""
WINDOW = 5
_WORD = re.compile(r"[a-z]+")
_STOP = frozenset(
    {
        "form",
        "used",
        "be",
        "name",
        "by",
        "from",
        "of",
        "for",
        "radical",
        "number",
        "simplified",
        "a",
        "on",
        "or",
        "see",
        "the",
        "kangxi",
        "with",
        "and",
        "surname",
        "as",
        "an",
        "in",
        "same",
        "to",
        "ancient",
        "is",
        "at",
        "variant",
        "not",
    }
)


def read_unihan(path: Path) -> dict[str, list[str]]:
    """Read character → English gloss words, commonest sense first; empty when the file is not there."""
    glosses: dict[str, list[str]] = {}
    if not path.exists():
        return glosses
    opener = bz2.open if path.suffix == ".bz2" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if "\tkDefinition\t" not in line:
                continue
            code, _, definition = line.rstrip("\n").split("\t", 2)
            words = [word for word in _WORD.findall(re.sub(r"\(.*?\)", " ", definition).lower()) if word not in _STOP]
            if words:
                glosses[chr(int(code.removeprefix("U+"), 16))] = words[:4]
    return glosses


def read_glossary(path: Path) -> dict[str, list[str]]:
    """Read our own glossary: a Chinese word, a tab, English words."""
    pairs = (line.split("\t", 1) for line in path.read_text("utf-8").splitlines() if "\t" in line)
    return {chinese: _WORD.findall(english.lower()) for chinese, english in pairs}


def initial(
    tokenizer: Tokenizer,
    base: Tokenizer,
    base_weights: Matrix,
    texts: Iterable[str],
    glosses: dict[str, list[str]],
    seed: int,
) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return the embedding of every token, and which ones are new (not MiniLM's own)."""
    vocabulary, old = tokenizer.get_vocab(), base.get_vocab()
    centre = base_weights[1000:].mean(0)
    norm = float(np.linalg.norm(base_weights[1000:] - centre, axis=1).mean())
    weights = np.zeros((len(vocabulary), base_weights.shape[1]), np.float32)
    new = np.ones(len(vocabulary), np.bool_)
    for token, at in vocabulary.items():
        if token in old and not (len(token) == 1 and is_han(token)):
            weights[at], new[at] = base_weights[old[token]], False
    glossed = {
        at: vector
        for token, at in vocabulary.items()
        if new[at] and (vector := _gloss(token, glosses, base, base_weights)) is not None
    }
    company = _company(tokenizer, texts, base_weights.shape[1], seed)
    anchors = np.array([at for at in glossed if np.abs(company[at]).sum() > 0])
    targets = np.stack([glossed[at] - centre for at in anchors])
    x = company[anchors]
    mapping = np.linalg.solve(x.T @ x + 0.1 * len(anchors) / x.shape[1] * np.eye(x.shape[1]), x.T @ targets)
    rng = np.random.default_rng(seed)
    for at in map(int, np.flatnonzero(new)):
        placed = _unit(company[at] @ mapping)
        meant = _unit(glossed[at] - centre) if at in glossed else 0.0
        noise = _unit(rng.normal(size=weights.shape[1]))
        weights[at] = centre + norm * _unit(1.0 * meant + 0.6 * placed + 0.4 * noise)
    return weights, new


def _unit(vector: NDArray[np.floating]) -> NDArray[np.floating]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def _gloss(token: str, glosses: dict[str, list[str]], base: Tokenizer, weights: Matrix) -> Matrix | None:
    if token in glosses:
        words = glosses[token]
    else:
        words = [word for character in token for word in glosses.get(character, [])[:2]]
    ids = [at for word in words for at in base.encode(word, add_special_tokens=False).ids[:2]]
    return weights[ids].mean(0) if ids else None


def _company(tokenizer: Tokenizer, texts: Iterable[str], size: int, seed: int) -> Matrix:
    """PPMI of co-occurrence within `WINDOW` tokens, reduced to `size` by SVD; rows of unseen tokens are zero."""
    pairs: Counter[int] = Counter()
    width = tokenizer.get_vocab_size()
    keys: list[NDArray[np.int64]] = []
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        ids = np.asarray(encoding.ids[:300], np.int64)
        keys += [ids[:-gap] * width + ids[gap:] for gap in range(1, WINDOW + 1) if len(ids) > gap]
        if len(keys) > 200_000:  # noqa: PLR2004 - folded before memory grows
            _fold(pairs, keys)
    _fold(pairs, keys)
    flat = np.fromiter(pairs, np.int64, len(pairs))
    counts = np.fromiter(pairs.values(), np.float64, len(pairs))
    flat, counts = flat[counts > 1], counts[counts > 1]
    one = csr_matrix((counts, np.divmod(flat, width)), shape=(width, width))
    table = (one + one.T).tocoo()
    totals = np.asarray(one.sum(0)).ravel() + np.asarray(one.sum(1)).ravel()
    ppmi = np.log(table.data * totals.sum() / (totals[table.row] * totals[table.col] ** 0.75 * totals.sum() ** 0.25))
    matrix = csr_matrix((np.maximum(ppmi, 0), (table.row, table.col)), shape=(width, width))
    left, values, _ = randomized_svd(matrix, size, n_iter=3, random_state=seed)
    vectors: Matrix = (left * np.sqrt(values)).astype(np.float32)
    return vectors


def _fold(pairs: Counter[int], keys: list[NDArray[np.int64]]) -> None:
    if keys:
        values, counts = np.unique(np.concatenate(keys), return_counts=True)
        pairs.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        keys.clear()
