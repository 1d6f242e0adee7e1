"""A bundle in one file: a zip archive of exactly one form, so that no byte of it is free.

Members are stored, not compressed (nothing can unfold into more than its size), carry no time of their own, and follow
each other without gaps; sizes are always in the 64-bit fields. Specification: PKWARE APPNOTE.TXT 6.3.9, sections 4.3.7
to 4.3.16 and 4.5.3. Any program that unpacks zip files unpacks it.
"""

import os
import zlib
from pathlib import Path
from struct import pack
from typing import BinaryIO

_CHUNK = 2**20
_DATE = 0x21  # 1 January 1980
_UTF8 = 0x800
_NEEDS = 45  # 64-bit sizes
_MADE_BY = 3 << 8 | _NEEDS  # Unix
_ELSEWHERE = 2**32 - 1  # the size is in the 64-bit field
_MODE = 0o100644 << 16


def pack_folder(folder: Path, target: Path) -> None:
    """Write the files of a folder, in order of their names, into a new zip file that is durable on return.

    Raises `OSError`, also when `target` is there already.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb", buffering=_CHUNK) as out:
        directory = b"".join([_member(out, folder / name, name.encode()) for name in names])
        start = out.tell()
        out.write(directory + _end(len(names), len(directory), start))
        out.flush()
        os.fsync(out.fileno())


def _member(out: BinaryIO, path: Path, name: bytes) -> bytes:
    """Write a file; return its entry in the directory."""
    start, size, crc = out.tell(), 0, 0
    out.write(_local_header(name, 0, 0))
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            out.write(data)
            size, crc = size + len(data), zlib.crc32(data, crc)
    end = out.tell()
    out.seek(start)
    out.write(_local_header(name, size, crc))
    out.seek(end)
    fields = (0x02014B50, _MADE_BY, _NEEDS, _UTF8, 0, 0, _DATE, crc, _ELSEWHERE, _ELSEWHERE)
    entry = pack("<IHHHHHHIII", *fields) + pack("<HHHHHII", len(name), 28, 0, 0, 0, _MODE, _ELSEWHERE)
    return entry + name + pack("<HHQQQ", 1, 24, size, size, start)


def _local_header(name: bytes, size: int, crc: int) -> bytes:
    fields = (0x04034B50, _NEEDS, _UTF8, 0, 0, _DATE, crc, _ELSEWHERE, _ELSEWHERE, len(name), 20)
    return pack("<IHHHHHIIIHH", *fields) + name + pack("<HHQQ", 1, 16, size, size)


def _end(count: int, length: int, start: int) -> bytes:
    record = pack("<IQHHIIQQQQ", 0x06064B50, 44, _MADE_BY, _NEEDS, 0, 0, count, count, length, start)
    locator = pack("<IIQI", 0x07064B50, 0, start + length, 1)
    return record + locator + pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, _ELSEWHERE, _ELSEWHERE, 0)
