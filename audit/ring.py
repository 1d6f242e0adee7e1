"""The keys of subjects in memory: opened once, bounded in number."""

import os
import time
from collections import OrderedDict

from audit.identifiers import RisingIds
from audit.keys import KEY_BYTES, MasterKey, SubjectKey
from audit.rows import Row

CACHED_KEYS = 10_000

KEY_COLUMNS = ("key_id", "subject", "wrapped", "master_key", "created_us")

ERASURES = "SELECT count(*) FROM erasure WHERE done_us IS NOT NULL"
"""How many erasures were carried out: when it changes, every opened key is forgotten."""
ERASURES_ASKED_S = 15.0
"""How often a writer asks, in seconds, also while it writes for other people only."""
ERASED_MEANWHILE = 5
"""How often a batch is made again because its subject was erased between the key and the commit."""


class KeyDestroyedError(Exception):
    """A key in memory is no longer that of the database: its subject was erased, or texts under it were removed."""


class KeyRing:
    """Opens and makes the keys of subjects. Not safe across threads: writer and readers have one each."""

    def __init__(self, master: MasterKey, size: int = CACHED_KEYS) -> None:
        self._master = master
        self._size = size
        self._by_subject: OrderedDict[str, SubjectKey] = OrderedDict()
        self._by_id: OrderedDict[str, SubjectKey] = OrderedDict()
        self._ids = RisingIds()

    def cached(self, subject: str) -> SubjectKey | None:
        """Return the key of a subject (as the columns hold it) if it was opened lately."""
        key = self._by_subject.get(subject)
        if key is not None:
            self._by_subject.move_to_end(subject)
        return key

    def open(self, key_id: str, subject: str, wrapped: bytes) -> SubjectKey:
        """Return the key that a row of `subject_key` holds. Raises `audit.keys.KeyFileError`."""
        key = self._by_id.get(key_id)
        if key is None:
            key = SubjectKey(key_id, self._master.unwrap(wrapped, _about(key_id, subject)))
        return self._keep(subject, key)

    def new_row(self, subject: str) -> Row:
        """Return a row of `subject_key` with a new key; it counts once it is committed and opened."""
        key_id = self._ids.next()
        wrapped = self._master.wrap(os.urandom(KEY_BYTES), _about(key_id, subject))
        return (key_id, subject, wrapped, self._master.identity, time.time_ns() // 1000)

    def forget(self) -> None:
        """Drop every opened key."""
        self._by_subject.clear()
        self._by_id.clear()

    def _keep(self, subject: str, key: SubjectKey) -> SubjectKey:
        for kept, name in ((self._by_subject, subject), (self._by_id, key.key_id)):
            kept[name] = key
            kept.move_to_end(name)
            if len(kept) > self._size:
                kept.popitem(last=False)
        return key


def _about(key_id: str, subject: str) -> bytes:
    return key_id.encode() + b"\x00" + subject.encode()
