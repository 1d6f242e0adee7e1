"""The files of a bundle, as docs/audit.md describes them; `audit/verify.py` reads them and shares no code with this."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from audit.canonical import bytes_text, canonical_json

FORMAT = "attest-bundle/1"
MANIFEST = "manifest.json"


class BundledText(msgspec.Struct, frozen=True):
    """A text of a record, and the nonce that lets anybody check the commitment to it."""

    ordinal: int
    """Which of the record's commitments it is, from 0."""
    name: str
    role: str
    nonce: bytes
    text: bytes
    """UTF-8, lone surrogates as `audit.canonical.text_bytes` writes them."""


class BundledRecord(msgspec.Struct, frozen=True):
    """A record as it goes into a bundle."""

    index: int
    leaf: bytes
    """Empty once pruned."""
    leaf_hash: bytes
    path: tuple[bytes, ...] = ()
    """Inclusion proof against the last checkpoint, in a selection."""
    texts: tuple[BundledText, ...] = ()


class BundledCheckpoint(msgspec.Struct, frozen=True):
    """A signed checkpoint."""

    tree_size: int
    note: bytes


class BundledConsistency(msgspec.Struct, frozen=True):
    """A proof that a larger tree continues a smaller one."""

    old_size: int
    new_size: int
    path: tuple[bytes, ...]


class BundleFrame(msgspec.Struct, frozen=True):
    """What a bundle holds beside records."""

    origin: str
    whole: bool
    """Every record up to the last checkpoint; otherwise a selection with inclusion proofs."""
    checkpoints: tuple[BundledCheckpoint, ...]
    """Rising by size; the last one is what everything is proved against."""
    consistency: tuple[BundledConsistency, ...]
    keys: tuple[str, ...]
    """Public keys as `name+hash+base64`."""


class _File:
    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=2**20)
        self._sha256 = hashlib.sha256()
        self._bytes = 0
        self.lines = 0

    def line(self, data: bytes) -> None:
        """Write a line."""
        whole = data + b"\n"
        self._file.write(whole)
        self._sha256.update(whole)
        self._bytes += len(whole)
        self.lines += 1

    def close(self) -> dict[str, object]:
        """Close it; return what the manifest says of it."""
        self._file.close()
        return {"bytes": self._bytes, "sha256": self._sha256.hexdigest()}


class BundleWriter:
    """Writes a bundle as a new folder, record by record, in rising order of index. Blocks; memory stays flat."""

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises `OSError`, also when it is there already."""
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._files: dict[str, _File] = {}
        for name in ("contents.ndjson", "index.txt", "leaves.ndjson"):
            self._files[name] = _File(folder / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(self, records: Iterable[BundledRecord]) -> None:
        """Write some records."""
        for record in records:
            hashes = (one.hex() for one in (record.leaf_hash, *record.path))
            self._files["index.txt"].line(f"{record.index} {' '.join(hashes)}".encode())
            self._files["leaves.ndjson"].line(record.leaf)
            for text in record.texts:
                self._files["contents.ndjson"].line(_text_line(record.index, text))

    def finish(self, frame: BundleFrame) -> None:
        """Write the rest; the manifest comes last, so a bundle that was not finished has none."""
        records, contents = self._files["index.txt"].lines, self._files["contents.ndjson"].lines
        (self._folder / "checkpoints").mkdir(mode=0o700)
        said = {name: file.close() for name, file in self._files.items()}
        for checkpoint in frame.checkpoints:
            said |= self._small(f"checkpoints/{checkpoint.tree_size:020d}", checkpoint.note)
        proofs = "".join(
            f"{' '.join([str(one.old_size), str(one.new_size), *(step.hex() for step in one.path)])}\n"
            for one in frame.consistency
        )
        said |= self._small("consistency.txt", proofs.encode())
        said |= self._small("keys.txt", "".join(f"{key}\n" for key in frame.keys).encode())
        manifest = {
            "format": FORMAT,
            "origin": frame.origin,
            "scope": "whole" if frame.whole else "selection",
            "tree_size": frame.checkpoints[-1].tree_size,
            "records": records,
            "contents": contents,
            "files": said,
        }
        self._small(MANIFEST, canonical_json(manifest))

    def _small(self, name: str, data: bytes) -> dict[str, dict[str, object]]:
        (self._folder / name).write_bytes(data)
        return {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}


def _text_line(index: int, text: BundledText) -> bytes:
    fields = {
        "index": index,
        "name": text.name,
        "nonce": text.nonce.hex(),
        "ordinal": text.ordinal,
        "role": text.role,
        "text": bytes_text(text.text),
    }
    try:
        return json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate: only its escape is JSON
        return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()
