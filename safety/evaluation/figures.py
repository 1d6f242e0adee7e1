"""Figures of a guard on labelled texts: ranking (AUPRC, AUROC) and decision (precision, recall, rates) measures.

Written on numpy alone, so that evaluation runs where the gateway runs. AUPRC is average precision, as in
scikit-learn; ties count as one threshold.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]


class Figures(msgspec.Struct, frozen=True):
    """Figures of one set; None where the set has no text of the kind that the figure needs."""

    n: int
    harmful: int
    auprc: float | None
    auroc: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    fpr: float | None
    """Share of the harmless texts that are caught."""
    accuracy: float
    macro_f1: float | None


def figures(truth: Sequence[bool], scores: Sequence[float], caught: Sequence[bool]) -> Figures:
    """Compare what is true with scores (0 to 1) and with what was caught at the thresholds in force."""
    t, s, c = np.asarray(truth, np.bool_), np.asarray(scores, np.float64), np.asarray(caught, np.bool_)
    hit, missed, false, right = (int(np.sum(a & b)) for a, b in ((t, c), (t, ~c), (~t, c), (~t, ~c)))
    both = bool(t.any() and not t.all())
    harmful_f1, harmless_f1 = _f1(hit, false, missed), _f1(right, missed, false)
    return Figures(
        n=len(t),
        harmful=int(t.sum()),
        auprc=_rounded(average_precision(t, s)) if both else None,
        auroc=_rounded(area_under_roc(t, s)) if both else None,
        f1=harmful_f1 if t.any() else None,
        precision=_share(hit, hit + false),
        recall=_share(hit, hit + missed),
        fpr=_share(false, false + right),
        accuracy=round((hit + right) / max(len(t), 1), 4),
        macro_f1=round((harmful_f1 + harmless_f1) / 2, 4) if both else None,
    )


def average_precision(truth: Flags, scores: Numbers) -> float:
    """Area under the precision-recall curve as average precision; `truth` holds both kinds."""
    hits, count = _at_thresholds(truth, scores)
    recall = hits / truth.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / count))


def area_under_roc(truth: Flags, scores: Numbers) -> float:
    """Chance that a harmful text scores higher than a harmless one, ties half; `truth` holds both kinds."""
    hits, count = _at_thresholds(truth, scores)
    recall = np.concatenate([[0.0], hits / truth.sum()])
    alarm = np.concatenate([[0.0], (count - hits) / (~truth).sum()])
    return float(np.sum(np.diff(alarm) * (recall[1:] + recall[:-1]) / 2))


def _at_thresholds(truth: Flags, scores: Numbers) -> tuple[Numbers, Numbers]:
    """Harmful texts, and texts, at or over each distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return np.cumsum(truth[order])[last].astype(np.float64), (last + 1).astype(np.float64)


def _f1(hit: int, false: int, missed: int) -> float:
    return round(2 * hit / (2 * hit + false + missed), 4) if hit else 0.0


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _rounded(value: float) -> float:
    return round(value, 4)
