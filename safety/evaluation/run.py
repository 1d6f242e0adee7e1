"""One evaluation: every text through a guard, then figures by set, language, category and source."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
import numpy as np

from safety.evaluation.figures import Figures, figures
from safety.evaluation.rows import Row, RowsError
from safety.normalise import normalise
from safety.pipeline import Pipeline
from safety.policy_shape import CLASSIFIER
from safety.ports import Direction, Guard, TurnContext
from safety.verdict import Band, Category, StageStatus

OTHER = "other"


class Judged(msgspec.Struct, frozen=True):
    """What a guard said of one text."""

    score: float
    """Highest score of any finding; 0 without one."""
    caught: bool
    """Whether any finding reaches its category's threshold."""
    categories: dict[Category, float]
    milliseconds: float


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds for one text after the other, normaliser included."""

    p50: float
    p99: float


class Report(msgspec.Struct, frozen=True):
    """What `attest safety eval --json` prints."""

    guard: str
    version: str
    thresholds: dict[str, float]
    sets: dict[str, Figures]
    by_language: dict[str, Figures]
    by_category: dict[str, Figures]
    by_group: dict[str, Figures]
    """By the sets' own finer division: functionality where given, else source."""
    latency_ms: Latency
    texts_per_second: float


class Named(Protocol):
    """What a report names as its subject."""

    @property
    def name(self) -> str:
        """Name of the guard."""

    @property
    def version(self) -> str:
        """Content hash of what decided."""


_SPOKE = (StageStatus.RAN, StageStatus.SKIPPED)


async def judge_all(guard: Guard, rows: Sequence[Row], thresholds: dict[str, float]) -> list[Judged]:
    """Judge rows one after the other; raises `RowsError` where the guard fails: a figure without it would be false."""
    judged = []
    for at, row in enumerate(rows):
        began = time.perf_counter()
        direction = Direction.OUTPUT if row.role == "response" else Direction.INPUT
        try:
            examination = await guard.examine(normalise(row.text), TurnContext(direction=direction))
        except ValueError as error:
            raise RowsError(f"{_place(rows, at)} cannot be judged: {error}") from None
        took = (time.perf_counter() - began) * 1000
        if examination.status is not StageStatus.RAN:
            raise RowsError(f"{_place(rows, at)} cannot be judged: {guard.name} {examination.status}")
        best: dict[Category, float] = {}
        for finding in examination.findings:
            best[finding.category] = max(best.get(finding.category, 0.0), finding.score)
        caught = any(score >= thresholds.get(category.value, 1.0) for category, score in best.items())
        judged.append(Judged(max(best.values(), default=0.0), caught, best, took))
    return judged


async def judge_by_pipeline(pipeline: Pipeline, rows: Sequence[Row]) -> list[Judged]:
    """Judge rows by all guards and the policy: caught is what would be blocked; a filter's block has score 1.

    Raises `RowsError` where a guard fails.
    """
    judged = []
    for at, row in enumerate(rows):
        began = time.perf_counter()
        direction = Direction.OUTPUT if row.role == "response" else Direction.INPUT
        decision = await pipeline.examine(row.text, TurnContext(direction=direction))
        took = (time.perf_counter() - began) * 1000
        if failed := [part for part in decision.examinations if part.status not in _SPOKE]:
            [first, *_] = failed
            raise RowsError(f"{_place(rows, at)} cannot be judged: {first.guard} {first.status} ({first.error})")
        best: dict[Category, float] = {}
        for verdict in decision.verdicts:
            if verdict.finding.guard == CLASSIFIER or verdict.band is Band.BLOCK:
                category = verdict.finding.category
                best[category] = max(best.get(category, 0.0), verdict.finding.score)
        judged.append(Judged(max(best.values(), default=0.0), decision.blocked, best, took))
    return judged


def _place(rows: Sequence[Row], at: int) -> str:
    """Name a row by its set and its number in that set."""
    return f"{rows[at].set} row {sum(row.set == rows[at].set for row in rows[: at + 1])}"


def report(guard: Named, rows: Sequence[Row], judged: Sequence[Judged], thresholds: dict[str, float]) -> Report:
    """Put the figures together."""
    times = np.array([item.milliseconds for item in judged] or [0.0])
    return Report(
        guard=guard.name,
        version=guard.version,
        thresholds=thresholds,
        sets=_grouped(rows, judged, lambda row: row.set),
        by_language=_grouped(rows, judged, lambda row: row.lang or OTHER),
        by_category={category: _of_category(category, rows, judged, thresholds) for category in thresholds},
        by_group=_grouped(rows, judged, lambda row: f"{row.set}/{row.functionality or row.source or OTHER}"),
        latency_ms=Latency(round(float(np.percentile(times, 50)), 3), round(float(np.percentile(times, 99)), 3)),
        texts_per_second=round(len(judged) / max(float(times.sum()) / 1000, 1e-9), 1),
    )


def _grouped(rows: Sequence[Row], judged: Sequence[Judged], name: Callable[[Row], str]) -> dict[str, Figures]:
    groups: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        groups.setdefault(name(row), []).append(at)
    return {
        group: figures(
            [rows[at].harmful for at in places],
            [judged[at].score for at in places],
            [judged[at].caught for at in places],
        )
        for group, places in sorted(groups.items())
    }


def _of_category(category: str, rows: Sequence[Row], judged: Sequence[Judged], bands: dict[str, float]) -> Figures:
    """One category against all other texts that carry labels or are harmless."""
    known: Iterable[int] = (at for at, row in enumerate(rows) if row.labels or not row.harmful)
    places = list(known)
    scores = [judged[at].categories.get(Category(category), 0.0) for at in places]
    return figures(
        [category in rows[at].labels for at in places], scores, [score >= bands[category] for score in scores]
    )
