"""The encrypted texts of a database against what the leaves commit to, and against what the log says was erased."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag

from audit.canonical import bytes_text, column, commitment, unescape
from audit.keys import KeyFileError, MasterKey, SubjectKey, decrypt
from audit.record import Kind
from audit.ring import KeyRing
from audit.rows import NONCE_BYTES, content_about
from audit.verification.brief import Read
from audit.verification.drivers import Values
from audit.verification.rows import at_us_of, text_of
from audit.verification.source import Source
from audit.verify import Report, read_leaf

_AT_ONCE_US = 60_000_000
"""Records of other processes that were written while a person was erased may get a later place than the erasure."""
_REMEMBERED = 50_000
"""Dialogue texts that need not be looked at again soon."""


class _UnreadableTextError(Exception):
    """A text is not what was written."""


class _ErasedTextError(Exception):
    """The key of a text was destroyed."""


class Texts:
    """Checks texts: all of what a leaf commits to is there, and, with the master key, is what was committed to.

    A text may be gone only where the log says that its person was erased, after it was written.
    """

    def __init__(self, report: Report, source: Source, master: MasterKey | None) -> None:
        self.contents = 0
        """Texts of records that were there."""
        self.missed = 0
        """How often a text was not there, or without its key."""
        self.asked: Sequence[str] = ()
        """The dialogue texts that the records checked last refer to."""
        self._dialogues = 0
        self._report = report
        self._source = source
        self._ring = KeyRing(master) if master is not None else None
        self._gone: dict[str, tuple[int, int, int]] = {}
        self._erased: dict[str, tuple[int, int]] = {}
        self._destroyed: dict[str, tuple[int, int]] = {}
        self._known: OrderedDict[str, None] = OrderedDict()

    @property
    def count(self) -> int:
        """Texts that were there."""
        return self.contents + self._dialogues

    def took(self, contents: int, asked: Sequence[str]) -> None:
        """Take so many texts of records and these dialogue texts, which another process checked."""
        self.contents += contents
        for text_id in asked:
            if text_id not in self._known:
                self._dialogues += 1
                self._remember(text_id)

    async def check(self, begin: int, end: int, records: Sequence[Read]) -> None:
        """Check the texts of these records, whose places are from `begin` up to `end`."""
        rows: dict[int, dict[int, Values]] = {}
        for row in await self._source.contents(begin, end):
            rows.setdefault(row[0], {})[row[1]] = row
        told = []
        for read in records:
            index = read.place
            if read.brief is not None and read.brief.without_texts() and index not in rows:
                continue
            fields = read.whole()
            told.append((index, fields))
            if fields["kind"] == Kind.SUBJECT_ERASED.value:
                self.erased(index, fields)
            self._check_record(index, fields, rows.pop(index, {}))
        for index in sorted(row[0] for row in await self._source.emptied(list(rows))):
            self._report.add("content", "a text is stored though of its record only the hash is left", index)
        await self._check_dialogues(told)

    def erased(self, index: int, fields: dict[str, Any]) -> None:
        """Take a record that says that a person was erased."""
        subject, when = text_of(fields, "subject"), (index, at_us_of(fields) or 0)
        self._erased[subject] = when
        detail = fields.get("detail")
        # None of the person's keys: a ledger was applied whose keys this database does not have (put back late, or of
        # another one), and what the person wrote under a key of now stays.
        if not isinstance(detail, dict) or detail.get("keys") != 0:
            self._destroyed[subject] = when

    async def end(self) -> None:
        """Report what is gone though nobody was erased, and what is there though its person was."""
        for subject, (place, erased_us) in sorted(self._destroyed.items()):
            person, before_us = column(subject), erased_us - _AT_ONCE_US
            for (index,) in await self._source.left_of(person, place, before_us):
                self._report.add(
                    "content", "its texts can be read, though the log says that its person was erased", index
                )
            if await self._has_dialogues_left(person, place, before_us):
                what = "dialogues of the person can be read whose key it says was destroyed"
                self._report.add("content", what, place)
        for subject, (first, last, at_us) in self._gone.items():
            index, erased_us = self._erased.get(subject, (-1, 0))
            if index < last and at_us > erased_us + _AT_ONCE_US:
                what = "a text is gone or its key was destroyed, and the log says nothing of an erasure"
                self._report.add("content", what, first, last)

    async def _has_dialogues_left(self, person: str, before: int, before_us: int) -> bool:
        """Whether dialogue texts of a person can be read that were written before a place and a time.

        A text's id depends on its key: an id that a leaf from before an erasure has is never there again. The keys' own
        times, which nobody signed, speak for the texts of pruned records alone.
        """
        if await self._source.has_dialogues_left(person, before_us):
            return True
        after = ""
        while rows := await self._source.leaves_before(person, before, before_us, after):
            if await self._source.has_readable(sorted({one for _, leaf in rows for one in _context_of(leaf)})):
                return True
            after = rows[-1][0]
        return False

    def _check_record(self, index: int, fields: dict[str, Any], rows: dict[int, Values]) -> None:
        promises = list(_promises(fields))
        for ordinal, promise in enumerate(promises):
            row = rows.pop(ordinal, None)
            if row is None:
                self._is_gone(index, fields)
                continue
            self.contents += 1
            try:
                self._check_content(fields, promise, row)
            except _ErasedTextError:
                self._is_gone(index, fields)
            except _UnreadableTextError:
                self._report.add("content", f"text {ordinal} is not the one that its leaf commits to", index)
        if rows:
            self._report.add("content", "a text is stored that its leaf does not know", index)

    def _check_content(self, fields: dict[str, Any], promise: dict[str, Any], row: Values) -> None:
        if (opened := self._record_key(row[2:], fields["entry_id"].encode())) is None:
            return
        name = promise.get("name", "")
        about = content_about(fields["entry_id"], unescape(name) if fields.get("escaped") is True else name)
        data = self._opened(opened[1], row[3], about)
        if commitment(data[:NONCE_BYTES], data[NONCE_BYTES:]) != promise.get("commitment"):
            raise _UnreadableTextError

    async def _check_dialogues(self, records: Sequence[tuple[int, dict[str, Any]]]) -> None:
        asked: dict[str, tuple[int, dict[str, Any]]] = {}
        for index, fields in records:
            for text_id in _dialogue(fields):
                asked.setdefault(text_id, (index, fields))
        wanted = {text_id: where for text_id, where in asked.items() if text_id not in self._known}
        self.asked = list(asked)
        rows = {row[0]: row for row in await self._source.texts(list(wanted))}
        for text_id, (index, fields) in wanted.items():
            try:
                self._check_dialogue(text_id, rows.get(text_id))
            except _ErasedTextError:
                self._is_gone(index, fields)
                continue
            except _UnreadableTextError:
                self._report.add("content", "a text of its dialogue was altered", index)
            self._remember(text_id)

    def _check_dialogue(self, text_id: str, row: Values | None) -> None:
        if row is None:
            raise _ErasedTextError
        self._dialogues += 1
        if (opened := self._record_key(row[1:], text_id.encode())) is None:
            return
        subject_key, record_key = opened
        role, _, text = self._opened(record_key, row[2], text_id.encode()).partition(b"\x00")
        if subject_key.text_id(bytes_text(role), text) != text_id:
            raise _UnreadableTextError

    def _record_key(self, row: Values, about: bytes) -> tuple[SubjectKey, bytes] | None:
        """Return the key of a text; None without the master key."""
        wrapped_key, _, key_id, subject, wrapped = row
        if wrapped is None:
            raise _ErasedTextError
        if self._ring is None:
            return None
        try:
            key = self._ring.open(key_id, subject, wrapped)
            return key, key.record_key(wrapped_key, about)
        except (InvalidTag, KeyFileError, TypeError, ValueError):
            raise _UnreadableTextError from None

    def _opened(self, key: bytes, sealed: Any, about: bytes) -> bytes:
        try:
            return decrypt(key, sealed, about)
        except (InvalidTag, TypeError, ValueError):
            raise _UnreadableTextError from None

    def _is_gone(self, index: int, fields: dict[str, Any]) -> None:
        self.missed += 1
        subject = text_of(fields, "subject")
        first, _, latest = self._gone.get(subject, (index, index, 0))
        self._gone[subject] = (first, index, max(latest, at_us_of(fields) or 0))

    def _remember(self, text_id: str) -> None:
        self._known[text_id] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _promises(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    promises = fields.get("commitments", [])
    if isinstance(promises, list):
        yield from (one for one in promises if isinstance(one, dict))


def _dialogue(fields: dict[str, Any]) -> Iterator[str]:
    """Yield the ids of the dialogue texts that a record refers to."""
    context = fields.get("context")
    if isinstance(context, list):
        yield from (one for one in context if isinstance(one, str))


def _context_of(leaf: Any) -> Sequence[str]:
    """Return the same of a leaf; nothing of one that was pruned, or altered, which is reported where it stands."""
    try:
        return tuple(_dialogue(read_leaf(leaf)))
    except (ValueError, TypeError, AttributeError):
        return ()
