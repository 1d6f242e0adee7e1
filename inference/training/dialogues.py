"""Reads our own dialogues (`dialogues/*.txt`; their README describes the format)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).with_name("dialogues")
HELD_OUT_FROM = 7
"""A first turn with at least so many wordings keeps its last one out of training."""

_MARKERS = ("%% ", "@ ", "? ", "= ")


class DialogueError(Exception):
    """A dialogue file breaks its format; the message names file and line."""


@dataclass
class Turn:
    """Wordings of one question and the good answers to it."""

    questions: list[str]
    answers: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)


@dataclass
class Record:
    """One dialogue of one or more turns; `rows` fill its placeholders (no rows: it has none)."""

    name: str
    language: str
    rows: list[list[str]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)


@dataclass(frozen=True)
class Dialogues:
    """All records, and the fallback and refusal answers by language."""

    records: list[Record]
    fallback: dict[str, list[str]]
    refusal: dict[str, list[str]]


def fill(text: str, row: list[str]) -> str:
    """Put the values of `row` in the places `{0}`, `{1}` … of `text`."""
    for place, value in enumerate(row):
        text = text.replace(f"{{{place}}}", value)
    return text


def _blocks(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, marker, text) of each marked block; lines without a marker belong to the block before."""
    start, marker, lines = 0, "", list[str]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        found = next((known for known in _MARKERS if line.startswith(known)), None)
        if found is None:
            if marker != "= " and line.strip():
                raise DialogueError(f"{path.name}:{number}: text outside of an answer")
            lines.append(line)
            continue
        if marker:
            yield start, marker.strip(), "\n".join(lines).strip()
        start, marker, lines = number, found, [line.removeprefix(found)]
    if marker:
        yield start, marker.strip(), "\n".join(lines).strip()


def read_file(path: Path) -> list[Record]:
    """Read one file. Raises `DialogueError`."""
    language = path.name.partition("_")[0]
    if language not in {"en", "zh"}:
        raise DialogueError(f"{path.name}: the name must begin with en_ or zh_")
    records: list[Record] = []
    for number, marker, text in _blocks(path):
        if marker == "%%":
            records.append(Record(name=text, language=language))
            continue
        if not records:
            raise DialogueError(f"{path.name}:{number}: no record has begun")
        record = records[-1]
        if marker == "@":
            record.rows.append([value.strip() for value in text.split(" | ")])
        elif marker == "?":
            record.turns.append(Turn(questions=[wording.strip() for wording in text.split(" | ")]))
        elif record.turns:
            record.turns[-1].answers.append(text)
        else:
            record.turns.append(Turn(questions=[], answers=[text]))
    for record in records:
        _check(path, record)
    return records


def _check(path: Path, record: Record) -> None:
    if not record.turns or not all(turn.answers for turn in record.turns):
        raise DialogueError(f"{path.name}: record {record.name!r} has a turn without an answer")
    first = record.turns[0]
    if not record.rows and len(first.questions) >= HELD_OUT_FROM:
        first.held_out = [first.questions.pop()]


def read_dialogues(folder: Path = FOLDER) -> Dialogues:
    """Read every file of `folder`. Raises `DialogueError`."""
    found = Dialogues(records=[], fallback={}, refusal={})
    for path in sorted(folder.glob("*.txt")):
        for record in read_file(path):
            if record.turns[0].questions:
                found.records.append(record)
            elif record.name == "fallback":
                found.fallback[record.language] = record.turns[0].answers
            elif record.name == "refusal":
                found.refusal[record.language] = record.turns[0].answers
            else:
                raise DialogueError(f"{path.name}: record {record.name!r} has no question")
    return found
