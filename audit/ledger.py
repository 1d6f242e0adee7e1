"""The erasure ledger: a file beside the database that remembers who was erased when the database no longer does.

A database that is restored from a backup has the destroyed keys again. So each erasure is written here first, one JSON
object a line, appended and on the disk before the keys are destroyed; at every start the ledger is applied again. Keep
it apart from the database's backups. It names people, so its mode is 0600; it holds no key and no text.
"""

import fcntl
import os
from pathlib import Path

import msgspec


class LedgerError(Exception):
    """The ledger cannot be read or written; the message says what to do."""


class LedgerLine(msgspec.Struct, frozen=True):
    """One erasure, as it was carried out."""

    erasure_id: str
    subject: str
    case_number: str
    requested_by: str
    requested_us: int
    destroyed_us: int
    """Microseconds since 1970 UTC; texts of the person that came later are not concerned."""
    key_ids: tuple[str, ...]
    """The keys that were destroyed, and no later ones."""


class ErasureLedger:
    """An append-only file. Methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: LedgerLine) -> None:
        """Append a line; on the disk when this returns. Raises `LedgerError`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                _write(handle, msgspec.json.encode(line))
                os.fsync(handle)
            finally:
                os.close(handle)
            _sync(self.path.parent)
        except OSError as error:
            raise LedgerError(f"The erasure ledger {self.path} cannot be written: {error.strerror}.") from None

    def lines(self) -> tuple[LedgerLine, ...]:
        """Return every line; none when there is no file. A line torn by a crash at its end does not count.

        Raises `LedgerError` when another line is damaged: whom it names is not known.
        """
        try:
            with self.path.open("rb") as file:
                written = file.read().split(b"\n")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise LedgerError(f"The erasure ledger {self.path} cannot be read: {error.strerror}.") from None
        lines = []
        for number, line in enumerate(written, 1):
            try:
                if line:
                    lines.append(msgspec.json.decode(line, type=LedgerLine))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                if number < len(written) and not line.endswith(_TORN):
                    raise LedgerError(
                        f"Line {number} of the erasure ledger {self.path} is damaged: put the file back from its copy."
                    ) from None
        return tuple(lines)


_TORN = b"\x00torn"
"""What is put behind a line that a crash left without its end, when the next line is written."""


def _write(handle: int, line: bytes) -> None:
    size = os.fstat(handle).st_size
    torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
    data = (_TORN + b"\n" if torn else b"") + line + b"\n"
    while data:
        data = data[os.write(handle, data) :]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
