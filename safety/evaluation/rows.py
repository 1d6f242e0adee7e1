"""Labelled texts in our jsonl form: `text` and `labels`; `lang`, `role`, `source`, `set`, `unsafe` if known."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec


class RowsError(ValueError):
    """A file that cannot be read as labelled texts, or a text that cannot be judged; the message names which."""


class Row(msgspec.Struct, frozen=True):
    """One labelled text; other fields of the file are passed over."""

    text: str
    labels: tuple[str, ...] = ()
    lang: str = ""
    role: str = "prompt"
    source: str = ""
    set: str = ""
    unsafe: bool | None = None
    """Whether the text is harmful, where the set says so itself; else any label makes it harmful."""
    functionality: str = ""

    @property
    def harmful(self) -> bool:
        """What is true of the text."""
        return bool(self.labels) if self.unsafe is None else self.unsafe


def read(path: Path) -> Iterator[Row]:
    """Yield the rows of a file (gzipped when its name ends so); a row without a set takes the file's name.

    Raises `RowsError`.
    """
    decoder = msgspec.json.Decoder(Row)
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = _row(decoder, line, f"{path.name} line {number}")
                yield row if row.set else msgspec.structs.replace(row, set=name)
    except (OSError, EOFError, zlib.error) as error:
        raise RowsError(f"{path.name} cannot be read: {error}") from None


def _row(decoder: msgspec.json.Decoder[Row], line: bytes, where: str) -> Row:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RowsError(f"{where} is no labelled text: {error}") from None
