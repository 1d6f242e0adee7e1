"""Records on their way to the search store: cut into parts that fit into memory, and made into documents."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from audit.elastic.fields import timestamp
from audit.elastic.rows import DocumentMaker, LogRow, Size
from audit.keys import KeyFileError
from audit.ports import AuditIntegrityError
from audit.ring import KeyRing
from audit.sinks.ports import Parcel


class Packed(msgspec.Struct):
    """Records ready to be sent."""

    records: list[tuple[str, tuple[Parcel, ...]]]
    """Their ids, and the documents of each."""
    unfit: dict[str, str]
    """Records that no document can be made of (altered, above all), with the code that says so."""


def pack(rows: Sequence[LogRow], ring: KeyRing) -> Packed:
    """Make the documents of some records. Raises `KeyFileError`: then no text can be read at all."""
    now, packed = timestamp(datetime.now(UTC)), Packed([], {})
    maker = DocumentMaker(ring)
    for row in rows:
        try:
            documents = maker.make(row)
        except KeyFileError:
            raise
        except AuditIntegrityError:
            packed.unfit[row.entry_id] = "altered"
            continue
        except Exception as error:  # noqa: BLE001 - one record must never stop the others
            packed.unfit[row.entry_id] = f"unfit {type(error).__name__}"
            continue
        for document in documents:
            document.source["event"]["ingested"] = now
        packed.records.append((row.entry_id, tuple(document.packed() for document in documents)))
    return packed


def parts(sizes: Sequence[Size], *, records: int, size_bytes: int) -> Iterator[list[str]]:
    """Cut records into parts of at most so many and of about so many bytes, each of at least one record."""
    part: list[str] = []
    total = 0
    for one in sizes:
        if part and (len(part) == records or total + one.size_bytes > size_bytes):
            yield part
            part, total = [], 0
        part.append(one.entry_id)
        total += one.size_bytes
    if part:
        yield part
