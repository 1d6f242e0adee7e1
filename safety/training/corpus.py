"""The rows that a run learns from: read, cleaned like the runtime cleans, labelled with masks and weights."""

import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from safety.classifier.manifest import LABELS
from safety.training.sources import (
    GUESSED_CLASS,
    LABEL_PRESENTATIONS,
    LEFT_OUT,
    NOISY,
    REFUSALS,
    ROLE_PRESENTATIONS,
    SEED_FILES,
    SEED_PRESENTATIONS,
    SEEDS,
    SEEDS_HELD_OUT,
    SOURCE_PRESENTATIONS,
    TRIGGER,
    TRIGGER_PRESENTATIONS,
)
from safety.verdict import Category

TRAINING_FILE, DEV_FILE = "train.jsonl.gz", "dev.jsonl.gz"

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_TRIGGER = re.compile(TRIGGER, re.IGNORECASE)
_INDEX = {label: at for at, label in enumerate(LABELS)}


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    text: str
    lang: str
    role: str
    source: str
    labels: tuple[int, ...]
    """Positions in `manifest.LABELS`; empty is benign."""
    presentations: float
    """How often the row is shown over a whole run, on average."""
    label_weight: float
    """Weight of the label heads' loss; the harm head's is `harm_weight`."""
    harm_weight: float

    @property
    def harmful(self) -> bool:
        """Whether any label is set."""
        return bool(self.labels)


def clean(text: str) -> str:
    """NFKC without invisible characters: what the runtime's normaliser does to ordinary text."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).strip()


def read_jsonl(path: Path) -> Iterator[dict[str, object]]:
    """Yield the objects of a jsonl file, gzipped when its name says so."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def load(path: Path, *, seed_rows: bool = False) -> list[Example]:
    """Read one file of the training folder (or one of our own, `seed_rows`), without the sources left out."""
    examples = (_example(row, seed_rows=seed_rows) for row in read_jsonl(path) if row.get("source") not in LEFT_OUT)
    return [example for example in examples if example.text]


def load_seeds(folder: Path, *, held_out: bool = False) -> list[Example]:
    """Read our own written examples, in the order of their file names: those to learn from, or those held out."""
    rows = (example for path in sorted(folder.glob("*.jsonl")) for example in _seeds(path))
    return [row for row in rows if _is_held_out(row.text) is held_out]


def _seeds(path: Path) -> list[Example]:
    shown = next((times for start, times in SEED_FILES.items() if path.name.startswith(start)), SEED_PRESENTATIONS)
    return [replace(row, presentations=shown) for row in load(path, seed_rows=True)]


def load_dev(data: Path, seeds: Path) -> list[Example]:
    """Read what calibration and thresholds are chosen on: dev and our own held-out examples."""
    return [*load(data / DEV_FILE), *load_seeds(seeds, held_out=True)]


def _is_held_out(text: str) -> bool:
    return zlib.crc32(text.encode("utf-8", "replace")) % SEEDS_HELD_OUT == 0


def _example(row: dict[str, object], *, seed_rows: bool) -> Example:
    text, lang, role = clean(str(row["text"])), str(row["lang"]), str(row["role"])
    source = str(row.get("source", SEEDS))
    labels = tuple(sorted(_INDEX[Category(label)] for label in row["labels"]))  # type: ignore[attr-defined]
    harmful = bool(labels)
    if seed_rows:
        return Example(text, lang, role, SEEDS, labels, SEED_PRESENTATIONS, 1.0, 1.0)
    shown = SOURCE_PRESENTATIONS.get(source, 1.0) * ROLE_PRESENTATIONS[lang, role, harmful]
    if harmful:
        shown *= max(LABEL_PRESENTATIONS.get((lang, LABELS[label]), 1.0) for label in labels)
    elif source in REFUSALS:
        shown *= REFUSALS[source]
    elif role != "post" and len(text) < 400 and _TRIGGER.search(text):  # noqa: PLR2004 - a prompt, not an essay
        shown *= TRIGGER_PRESENTATIONS
    guessed = source in GUESSED_CLASS and harmful
    noisy = source in NOISY and harmful
    return Example(text, lang, role, source, labels, shown, 0.4 if guessed else 1.0, 0.6 if noisy else 1.0)
