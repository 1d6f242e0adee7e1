"""The reader of wording: logistic regression over the features of `safety.classifier.wording`, once, on all rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from safety.classifier.tokenise import WINDOW, Tokeniser
from safety.classifier.wording import buckets
from safety.training.corpus import Example

BUCKETS = 1 << 19
"""Half a megabyte of int8. With 2^18 or 2^20 what it adds is the same (docs/decisions/0026)."""
REGULARISATION = 10.0
"""`C`, the inverse of the penalty; 3 to 10 differ in nothing."""
MOST_PRESENTATIONS = 8.0
"""A row counts as often as an encoder is shown it, and at most so often."""
MOST_CHARACTERS = 2000
"""Characters of a row that are tokenised: more than a window of tokens."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Weights in int8, and what brings them back to a logit."""

    weights: NDArray[np.int8]
    scale: float
    intercept: float


def learn(rows: Sequence[Example], tokeniser: Tokeniser) -> Learned:
    """Fit the harm score on the first window of every row. The same rows give the same weights: nothing is drawn."""
    features = [sorted(buckets(tokeniser.encode(row.text[:MOST_CHARACTERS]).ids[:WINDOW], BUCKETS)) for row in rows]
    lengths = np.array([len(found) for found in features])
    matrix = csr_matrix(
        (
            np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths),
            np.concatenate(features).astype(np.int32),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        ),
        shape=(len(rows), BUCKETS),
    )
    counts = [min(row.presentations, MOST_PRESENTATIONS) * row.harm_weight for row in rows]
    fitted = LogisticRegression(C=REGULARISATION, solver="liblinear", tol=1e-3).fit(
        matrix, [row.harmful for row in rows], sample_weight=counts
    )
    exact = fitted.coef_[0]
    scale = float(np.abs(exact).max() / 127) or 1.0
    return Learned(np.round(exact / scale).astype(np.int8), scale, float(fitted.intercept_[0]))
