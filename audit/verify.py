#!/usr/bin/env python3
"""Verify a bundle or a proof of the audit log: `python verify.py FILE [--key FILE] [--checkpoint FILE] [--json]`.

This file stands alone: Python 3.11 or newer and the package `cryptography`, nothing of Attest. It shares no code with
what wrote the bundle, and is written from the specifications: RFC 6962 (tree), RFC 8785 (canonical JSON), C2SP
signed-note and tlog-checkpoint (signatures). docs/audit.md describes the bundle and every finding.

A bundle is not trusted: nothing is unpacked, every size is bounded before it is read, memory does not grow with the
number of records. Exit code: 0 when all holds, 1 when not (each finding on a line), 2 for wrong use.
"""

import argparse
import base64
import binascii
import bisect
import hashlib
import io
import itertools
import json
import operator
import os
import re
import stat
import struct
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, NamedTuple, Protocol, TypeVar, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "attest-bundle/1"
LONGEST_LINE = 64 * 2**20
"""Bytes of a leaf or of a text with its frame."""
LONGEST_NOTE = 2**16
LONGEST_MANIFEST = 2**26
MOST_FILES = 100_000
_AT_ONCE = 2**18
"""Bytes that are read at once."""
AHEAD = 256
"""How far records are looked for that are not in their place."""
MOST_LATE = 1_000_000

_EXACT = 2**53 - 1
_EXACT_DIGITS = 15
_CHECKPOINT = re.compile(r"checkpoints/[0-9]{20}")
_INDEX_LINE = re.compile(rb"(0|[1-9][0-9]{0,15}) ([0-9a-f]{64})((?: [0-9a-f]{64}){0,64})")
_PROOF_LINE = re.compile(rb"(0|[1-9][0-9]{0,15}) (0|[1-9][0-9]{0,15})((?: [0-9a-f]{64}){0,128})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ASTRAL = re.compile(rb"[\xf0-\xff]")
"""Characters of which code points and UTF-16 units sort differently."""
_UNFIT = re.compile(r"[^\x20-\x7e]")


class Finding(NamedTuple):
    """One thing that is not as it must be."""

    code: str
    """Stable: docs/audit.md lists them."""
    what: str
    record: int | None = None
    """Its index in the log, from 0; None where it is not about one record."""
    last: int | None = None
    """The last record, where it is about several in a row."""

    def line(self) -> str:
        """Return it as one line."""
        where = "log" if self.record is None else f"record {self.record}"
        if self.last is not None and self.last != self.record:
            where = f"records {self.record} to {self.last}"
        return f"{where}: {self.code}: {_UNFIT.sub('?', self.what)}"

    def fields(self) -> dict[str, Any]:
        """Return it as JSON fields."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Report:
    """Takes findings as they are made; knows only how many there were."""

    def __init__(self, show: Callable[[Finding], None]) -> None:
        self.count = 0
        self._show = show

    def add(self, code: str, what: str, record: int | None = None, last: int | None = None) -> None:
        """Take a finding."""
        self.count += 1
        self._show(Finding(code, what, record, last))


class UnreadableError(Exception):
    """A part that cannot be read at all; the message says which and why."""


# --- the tree: RFC 6962, section 2.1 ---------------------------------------------------------------------------------


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 over 0x00 and its bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256 over 0x01 and its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree, of which only the roots of its complete subtrees are kept."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Add the hash of one more leaf."""
        self._add_whole(leaf, 0)

    def extend(self, leaves: Sequence[bytes], roots: Mapping[int, bytes] | None = None) -> None:
        """Add the hashes of leaves, in half the time of one after the other.

        `roots`: those over the 256 leaves that begin at these places of the log, where they were computed already.
        """
        at = 0
        while at < len(leaves):
            level = min(
                (len(leaves) - at).bit_length() - 1, (self.size & -self.size).bit_length() - 1 if self.size else 8
            )
            level = min(level, 8)
            known = roots.get(self.size) if roots and level == 8 else None  # noqa: PLR2004 - 2^8 leaves
            self._add_whole(whole_root(leaves[at : at + (1 << level)]) if known is None else known, level)
            at += 1 << level

    def _add_whole(self, node: bytes, level: int) -> None:
        """Add the root over 2^level more leaves; the size is a multiple of that."""
        size = self.size >> level
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        """Return the root hash."""
        if not self._peaks:
            return hashlib.sha256().digest()
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def copy(self) -> "Tree":
        """Return the same tree, to grow apart from this one."""
        other = Tree()
        other.size, other._peaks = self.size, self._peaks.copy()
        return other


def whole_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over the hashes of 2^n leaves, level by level."""
    sha256, level = hashlib.sha256, list(hashes)
    while len(level) > 1:
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def included(index: int, size: int, leaf: bytes, path: Iterable[bytes], root: bytes) -> bool:
    """Whether an inclusion proof holds (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(step, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, step)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: list[bytes]) -> bool:
    """Whether a consistency proof holds (RFC 9162, section 2.1.4.2)."""
    if old > new or old < 0:
        return False
    if old in (0, new):
        return not path and (old == 0 or old_root == new_root)
    steps = path if old & (old - 1) else [old_root, *path]
    if not steps:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    was = now = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            was, now = node_hash(step, was), node_hash(step, now)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, step)
        node, last = node >> 1, last >> 1
    return last == 0 and was == old_root and now == new_root


# --- notes and checkpoints: C2SP signed-note, tlog-checkpoint --------------------------------------------------------


class Key(NamedTuple):
    """A public key of the log."""

    name: str
    key_hash: bytes
    public: Ed25519PublicKey
    text: str
    """As `name+hash+base64`."""


class Checkpoint(NamedTuple):
    """A signed statement: the log has so many records, and this root."""

    origin: str
    size: int
    root: bytes
    label: str
    """Where it comes from, for findings."""
    outside: bool = False
    """It was kept outside the log."""


def parse_keys(data: bytes) -> list[Key]:
    """Return the keys of a file, one a line (`name+hash+base64`). Raises `UnreadableError`."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise UnreadableError("the keys are not text") from None
    keys = [_key(line.strip()) for line in lines if line.strip()]
    if not keys:
        raise UnreadableError("there is no key")
    return keys


def _key(line: str) -> Key:
    parts = line.split("+", 2)
    raw = _base64(parts[2]) if len(parts) == 3 else None  # noqa: PLR2004
    if raw is None or len(raw) != 33 or raw[0] != 1 or not parts[0] or " " in parts[0]:  # noqa: PLR2004
        raise UnreadableError("a key is not an Ed25519 key in the form name+hash+base64")
    digest = hashlib.sha256(parts[0].encode() + b"\n" + raw).digest()[:4]
    if digest.hex() != parts[1]:
        raise UnreadableError("the hash in a key is not that of the key")
    return Key(parts[0], digest, Ed25519PublicKey.from_public_bytes(raw[1:]), line)


def parse_checkpoint(data: bytes, keys: Iterable[Key], label: str, *, outside: bool = False) -> Checkpoint:
    """Return a checkpoint that one of the keys signed. Raises `UnreadableError`."""
    try:
        text, _, signatures = data.decode().rpartition("\n\n")
    except UnicodeDecodeError:
        raise UnreadableError(f"{label} is not text") from None
    if (
        len(data) > LONGEST_NOTE
        or not text
        or not signatures.endswith("\n")
        or re.search(r"[\x00-\x09\x0b-\x1f]", text)
    ):
        raise UnreadableError(f"{label} is not a signed note")
    _check_signatures(text + "\n", signatures, list(keys), label)
    origin, size, root, *_ = [*text.split("\n"), "", "", ""]
    digest = _base64(root)
    if not origin or not _SIZE.fullmatch(size) or digest is None or len(digest) != 32:  # noqa: PLR2004
        raise UnreadableError(f"{label} is not a checkpoint")
    return Checkpoint(origin, int(size), digest, label, outside)


def _check_signatures(text: str, signatures: str, keys: list[Key], label: str) -> None:
    signed = False
    for line in signatures[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        raw = _base64(encoded)
        if dash != "—" or not name or raw is None or len(raw) < 5:  # noqa: PLR2004
            raise UnreadableError(f"{label} has a signature line that is none")
        for key in keys:
            if (key.name, key.key_hash) == (name, raw[:4]):
                try:
                    key.public.verify(raw[4:], text.encode())
                except InvalidSignature:
                    raise UnreadableError(f"{label} has a signature that is wrong") from None
                signed = True
    if not signed:
        raise UnreadableError(f"{label} is not signed by a key that is trusted")


def _base64(text: str) -> bytes | None:
    """Return the bytes, or None when the text is not their one encoding."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


# --- leaves: RFC 8785 ------------------------------------------------------------------------------------------------


def _canonical_float(text: str) -> float:
    """Read a number that has a point or exponent; raise `ValueError` when canonical JSON writes it otherwise."""
    value = float(text)
    plain = repr(value) == text and "e" not in text and not text.endswith(".0")
    if not plain and _number(value) != text:
        raise ValueError("a number is not canonical")
    return value


def _canonical_int(text: str) -> int | float:
    if len(text) <= _EXACT_DIGITS:
        return int(text)
    value = int(text) if len(text) < 400 else _EXACT + 1  # noqa: PLR2004 (no double has more digits)
    if -_EXACT <= value <= _EXACT:
        return value
    return _canonical_float(text)


def _number(value: float) -> str:
    """Write a double as ECMAScript does (RFC 8785, section 3.2.2.3)."""
    if value == 0:
        return "0"
    if value in (float("inf"), float("-inf")):
        return ""
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) + (len(whole) if whole.strip("0") else -(len(fraction) - len(fraction.lstrip("0"))))
    digits = digits.rstrip("0") or "0"
    sign = "-" if value < 0 else ""
    if len(digits) <= exponent <= 21:  # noqa: PLR2004
        return sign + digits + "0" * (exponent - len(digits))
    if 0 < exponent <= 21:  # noqa: PLR2004
        return f"{sign}{digits[:exponent]}.{digits[exponent:]}"
    if -6 < exponent <= 0:  # noqa: PLR2004
        return f"{sign}0.{'0' * -exponent}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if exponent > 0 else '-'}{abs(exponent - 1)}"


def _no_constant(_: str) -> None:
    raise ValueError("not a number")


_QUICK = json.JSONDecoder(parse_constant=_no_constant)
_DOUBTFUL = re.compile(rb"[:,\[]-?(?:\d{16}|\d+\.\d*0[],}]|\d+(?:\.\d+)?[eE])")
"""What may be a number that Python writes otherwise than canonical JSON, or as it stands though it is not canonical."""
_DECODER = json.JSONDecoder(parse_float=_canonical_float, parse_int=_canonical_int, parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)


def _written(value: Any) -> str:
    """Write a value canonically, whatever its keys and numbers."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_ENCODER.encode(key)}:{_written(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return _number(value) if isinstance(value, float) else _ENCODER.encode(value)


_ALWAYS = ("at", "entry_id", "kind", "subject")


def read_leaf(leaf: bytes) -> dict[str, Any]:
    """Return the fields of a leaf. Raises `ValueError` when it is not canonical JSON of a record."""
    try:
        text = leaf.decode()
        fields, fine = _quickly(leaf, text)
        if not fine:
            fields, _ = _DECODER.raw_decode(text)
            fine = _written(fields) == text
        if not (fine and isinstance(fields, dict)):
            raise ValueError("it is not canonical JSON")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    for name in _ALWAYS:
        if type(fields.get(name)) is not str:
            raise ValueError(f"it has no {name}")
    if not _UUID.fullmatch(fields["entry_id"]):
        raise ValueError("its entry_id is no UUIDv7")
    return fields


def _quickly(leaf: bytes, text: str) -> tuple[Any, bool]:
    """Return what a leaf holds and that it is canonical; or False where only the long way can tell.

    The standard library writes RFC 8785 but for some numbers, and for the order of keys beyond the basic plane.
    """
    if _DOUBTFUL.search(leaf) or not (leaf.isascii() or not _ASTRAL.search(leaf)):
        return None, False
    value, _ = _QUICK.raw_decode(text)
    return value, _ENCODER.encode(value) == text


_TEXT = rb'"[^"\\\x00-\x1f]*+"'
"""A text that needs no escape: canonical JSON writes it as it is."""
_PLAIN = rb"(?>(?:0|[1-9][0-9]{0,8}+)(?:\.[0-9]{0,5}[1-9])?+|0\.[1-9][0-9]{0,13}[1-9])(?=[],}])"
"""Numbers so short that there is one way only to write them (RFC 8785, section 3.2.2.3)."""
_KIND = b'"kind":"'
_READ_ALWAYS = frozenset({"retention.pruned"})
"""Kinds of which more is needed than the id."""


class Forms:
    """Tells canonical leaves at a glance: those of a form that was learnt from an earlier leaf.

    A form is a regular expression, made of a leaf that `read_leaf` accepted: its names, their order and its kind stand
    as they are; its texts may be any that need no escape, its numbers any that are short, its lists of any length. So
    whatever has the form is canonical too. What has no known form is read the long way; nothing is refused here.
    """

    MOST_KINDS = 32
    MOST_OF_A_KIND = 8
    LONGEST_TO_LEARN = 2**13
    LONGEST = 2**16
    LONGEST_FORM = 2**13
    """Bytes of a regular expression: what is kept of them all is bounded by it."""
    MOST_READ = 4
    """How often a form may read a byte of a leaf before it says that the leaf has another one."""
    MOST_IN_VAIN = 1000
    """Leaves that did not have the form that was made of them (a text has an escape, say): it takes milliseconds."""

    def __init__(self, decode: Callable[[bytes], Any] = json.loads) -> None:
        """`decode` reads what is known to be canonical JSON."""
        self._by_kind: dict[bytes, list[re.Pattern[bytes]]] = {}
        self._in_vain = 0
        self._decode = decode

    def entry_id(self, leaf: bytes) -> str | None:
        """Return the entry_id of a leaf of a known form; None where only `read_leaf` can tell."""
        begin = leaf.find(_KIND) + len(_KIND)
        known = self._by_kind.get(leaf[begin : leaf.find(b'"', begin)])  # only chooses which forms are tried
        if known is None or len(leaf) > self.LONGEST:
            return None
        for form in known:
            if match := form.fullmatch(leaf):
                if form is not known[0]:
                    known.remove(form)
                    known.insert(0, form)
                return match[1].decode() if leaf.isascii() or _is_text(leaf) else None
        return None

    def read(self, leaf: bytes) -> dict[str, Any]:
        """Return the fields of a leaf, and learn its form. Raises `ValueError` as `read_leaf` does."""
        if self.entry_id(leaf) is not None:
            return cast("dict[str, Any]", self._decode(leaf))
        fields = read_leaf(leaf)
        if (
            fields["kind"] not in _READ_ALWAYS
            and len(leaf) <= self.LONGEST_TO_LEARN
            and self._in_vain < self.MOST_IN_VAIN
        ):
            self._learn(leaf, fields)
        return fields

    def _learn(self, leaf: bytes, fields: dict[str, Any]) -> None:
        kind = fields["kind"].encode()
        known = self._by_kind.get(kind, [])
        if len(known) >= self.MOST_OF_A_KIND or (not known and len(self._by_kind) >= self.MOST_KINDS):
            return
        with suppress(RecursionError, OverflowError):
            pattern, times = _form_of(fields)
            if len(pattern) > self.LONGEST_FORM or times > self.MOST_READ:
                return
            form = re.compile(pattern)
            if form.fullmatch(leaf):
                self._by_kind[kind] = [form, *known]
            else:
                self._in_vain += 1


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _form_of(fields: dict[str, Any]) -> tuple[bytes, int]:
    """Return the regular expression of leaves that are built as this one, and how often it may read one."""
    known = {"entry_id": b'"(' + _UUID.pattern.encode() + b')"', "kind": re.escape(_literal(fields["kind"]))}
    parts = {name: (known[name], 1) if name in known else _like(one) for name, one in fields.items()}
    return _like_object(parts)


def _like(value: Any) -> tuple[bytes, int]:
    """Return the regular expression of values that are built as this one, and how often it may read one.

    Each part of the value stands in it once, and what a part took is never tried again in another way; but each element
    of a list is tried as every element of the value, so a byte may be read as often as there are ways around it.
    """
    if isinstance(value, dict):
        return _like_object({name: _like(one) for name, one in value.items()})
    if isinstance(value, list):
        ways = dict(map(_like, value))
        each = b"(?:" + b"|".join(ways) + b")"
        return rb"\[(?:" + each + rb"(?:,(?!\])|(?=\])))++\]" if value else rb"\[\]", max(1, sum(ways.values()))
    if isinstance(value, str):
        return _TEXT, 1
    return b"(?:true|false|null)" if value is None or isinstance(value, bool) else _PLAIN, 1


def _like_object(parts: dict[str, tuple[bytes, int]]) -> tuple[bytes, int]:
    expression = b",".join(_name(name) + part for name, (part, _) in parts.items())
    return rb"\{" + expression + rb"\}", max((times for _, times in parts.values()), default=1)


def _name(name: str) -> bytes:
    return re.escape(_literal(name)) + b":"


def _literal(text: str) -> bytes:
    return _ENCODER.encode(text).encode()


def commitment(nonce: bytes, text: bytes) -> str:
    """Return the commitment to a text, as hex: SHA-256 over its nonce and its UTF-8 bytes."""
    return hashlib.sha256(nonce + text).hexdigest()


# --- what any whole log is held to: a bundle's, and a database's -----------------------------------------------------


class Walk:
    """Takes every record in order, and compares the growing tree with each checkpoint when it has its size.

    A record comes with two hashes: that of its leaf, and the one that is stated elsewhere for it. Where they differ,
    two trees grow until a signed root says which is right.
    """

    def __init__(self, report: Report) -> None:
        self.compared = 0
        self.proved = 0
        """Records that the largest matching checkpoint of the log covers."""
        self.size = 0
        """Records so far."""
        self._report = report
        self._expected: deque[Checkpoint] = deque()
        self._tree = Tree()
        self._other: Tree | None = None
        self._whole = True
        self._failing = False

    def expect(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Take checkpoints that are to come, with valid signatures, rising by size."""
        self._expected.extend(checkpoints)
        self._compare()

    def add(self, own: bytes, stated: bytes) -> None:
        """Take the next record's hashes."""
        if not self._whole:
            self.gap()
            return
        if own != stated and self._other is None:
            self._other = self._tree.copy()
        self._tree.add(own)
        if self._other is not None:
            self._other.add(stated)
        self.size += 1
        if self._expected and self._expected[0].size == self.size:
            self._compare()

    def extend(self, hashes: Sequence[bytes], roots: Mapping[int, bytes] | None = None) -> None:
        """Take the hashes of several records for which no others are stated; `roots` as `Tree.extend` takes them."""
        if not self._whole:
            self.gap(len(hashes))
            return
        at = 0
        while at < len(hashes):
            if self._other is not None:
                self.add(hashes[at], hashes[at])
                at += 1
                continue
            end = min(len(hashes), at + self._expected[0].size - self.size) if self._expected else len(hashes)
            self._tree.extend(hashes[at:end], roots)
            self.size += end - at
            at = end
            if self._expected and self._expected[0].size == self.size:
                self._compare()

    def gap(self, count: int = 1) -> None:
        """Pass over records of which nothing is known: no root can be compared from here on, so nothing is hashed."""
        self._whole = False
        self.size += count
        self._compare()

    def end(self) -> None:
        """Compare what is left: checkpoints that know more records than there are."""
        told = False
        for checkpoint in self._expected:
            if told and not checkpoint.outside:
                continue  # one truncation is one finding, however many checkpoints tell it
            code = "rollback" if checkpoint.outside else "truncated"
            what = f"{checkpoint.label} covers {checkpoint.size} records, here are {self.size}: the rest is missing"
            self._report.add(code, what, self.size, checkpoint.size - 1)
            told = told or not checkpoint.outside
        self._expected.clear()

    def _compare(self) -> None:
        while self._expected and self._expected[0].size <= self.size:
            checkpoint = self._expected.popleft()
            if self._whole:
                self._compare_one(checkpoint)

    def _compare_one(self, checkpoint: Checkpoint) -> None:
        self.compared += 1
        for tree in (self._tree, self._other):
            if tree is not None and tree.root() == checkpoint.root:
                self._tree, self._other, self._failing = tree, None, False
                self.proved = tree.size
                return
        if checkpoint.outside:
            what = f"{checkpoint.label} has another root for {checkpoint.size} records: the log was forked or rewritten"
            self._report.add("fork", what)
        elif not self._failing:
            what = f"they do not have the signed root of {checkpoint.label}: altered, reordered or exchanged"
            self._report.add("root", what, self.proved, checkpoint.size - 1)
            self._failing = True


class Pruned:
    """Records whose leaf is gone, and what the log itself says of that (`retention.pruned`)."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._gone: list[list[int]] = []
        self._said: list[tuple[int, int, int]] = []

    @property
    def any(self) -> bool:
        """Whether any record so far has no leaf."""
        return bool(self._gone)

    def gone(self, index: int) -> None:
        """Take a record without leaf."""
        if self._gone and self._gone[-1][1] == index - 1:
            self._gone[-1][1] = index
        else:
            self._gone.append([index, index])

    def said(self, index: int, fields: dict[str, Any]) -> None:
        """Take a `retention.pruned` record: `count` records before it, from `first` to `last`, were emptied."""
        detail = fields.get("detail")
        said = [detail.get(name) for name in ("first", "last", "count")] if isinstance(detail, dict) else [None] * 3
        first, last, count = said
        if not (type(first) is type(last) is type(count) is int and 0 <= first <= last < index and count >= 0):
            self._report.add("malformed", "it says that records were pruned, but not which", index)
            return
        self._said.append((first, last, count))

    def end(self) -> None:
        """Report what is gone and was never said to be."""
        spans: list[list[int]] = []
        for first, last, count in sorted(self._said):
            if spans and first <= spans[-1][1] + 1:
                spans[-1][1] = max(spans[-1][1], last)
                spans[-1][2] += count
            else:
                spans.append([first, last, count])
        for first, last in self._gone:
            for low, high in _uncovered(first, last, spans):
                what = "the leaf is gone, and no record of the log says that it was pruned"
                self._report.add("missing", what, low, high)
        for first, last, left in spans:
            if left < 0:
                self._report.add("missing", f"{-left} more leaves are gone than the log says were pruned", first, last)


def _uncovered(first: int, last: int, spans: list[list[int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that disjoint, sorted spans do not cover; take the others from their counts."""
    at = first
    for number in range(bisect.bisect_left(spans, first, key=lambda one: one[1]), len(spans)):
        span = spans[number]
        if span[0] > last:
            break
        if span[0] > at:
            yield at, span[0] - 1
        at = max(at, span[0])
        span[2] -= min(span[1], last) - at + 1
        at = span[1] + 1
    if at <= last:
        yield at, last


class SeenIds:
    """Finds ids that come twice, with bounded memory: exactly where ids come about in order, as UUIDv7 do."""

    def __init__(self, window: int = 16_384) -> None:
        self.late: dict[str, int] = {}
        """Ids too late for the window: whether they came before is to be seen in a second reading."""
        self._window = window
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._floor = ""
        self._highest = ""

    def add(self, entry_id: str, index: int) -> int | None:
        """Take an id; return the record that had it, if one of the last had (at least as many as the window has)."""
        if entry_id > self._highest:
            self._highest = entry_id
        else:
            before = self._recent.get(entry_id, self._older.get(entry_id))
            if before is not None:
                return before
            if entry_id <= self._floor and len(self.late) < MOST_LATE:
                self.late.setdefault(entry_id, index)
        self._recent[entry_id] = index
        self._turn_over()
        return None

    def add_risen(self, entry_ids: Sequence[str], index: int) -> bool:
        """Take the ids of records from this one on if each is higher than all before it; else take none of them."""
        rising = self._highest < entry_ids[0] and all(map(operator.lt, entry_ids, itertools.islice(entry_ids, 1, None)))
        if rising:
            self._highest = entry_ids[-1]
            self._recent.update(zip(entry_ids, itertools.count(index), strict=False))
            self._turn_over()
        return rising

    def _turn_over(self) -> None:
        if len(self._recent) > self._window:
            self._floor = max([self._floor, *self._older])
            self._older, self._recent = self._recent, {}


# --- the container: a folder, or a zip file of exactly one form ------------------------------------------------------


class Container(Protocol):
    """Named files of known size."""

    sizes: dict[str, int]
    crcs: dict[str, int]

    def open(self, name: str) -> BinaryIO:
        """Open one at its start."""


class Folder:
    """A bundle as a folder: ordinary files, nothing else, no links."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.crcs: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        for prefix in ("", "checkpoints/"):
            folder = root / prefix
            if prefix and (not folder.exists() or folder.is_symlink()):
                continue
            with os.scandir(folder) as files:
                for found in files:
                    self._take(prefix + found.name, found.stat(follow_symlinks=False))

    def _take(self, name: str, status: os.stat_result) -> None:
        if name == "checkpoints" and stat.S_ISDIR(status.st_mode):
            return
        if not stat.S_ISREG(status.st_mode) or len(self.sizes) >= MOST_FILES:
            raise UnreadableError("the folder holds something that is not an ordinary file, or too many")
        self.sizes[name] = status.st_size

    def open(self, name: str) -> BinaryIO:
        """Open a file, never through a link."""
        handle = os.open(self._root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return os.fdopen(handle, "rb", buffering=0)


_DATE = 0x21
"""1 January 1980: members have no time of their own."""


def _local(name: bytes, size: int, crc: int) -> bytes:
    fixed = struct.pack("<IHHHHHIIIHH", 0x04034B50, 45, 0x800, 0, 0, _DATE, crc, 2**32 - 1, 2**32 - 1, len(name), 20)
    return fixed + name + struct.pack("<HHQQ", 1, 16, size, size)


def _central(name: bytes, size: int, crc: int, offset: int) -> bytes:
    full = 2**32 - 1
    fields = (0x02014B50, 0x32D, 45, 0x800, 0, 0, _DATE, crc, full, full, len(name), 28, 0, 0, 0, 0o100644 << 16, full)
    return struct.pack("<IHHHHHHIIIHHHHHII", *fields) + name + struct.pack("<HHQQQ", 1, 24, size, size, offset)


def _tail(count: int, length: int, offset: int) -> bytes:
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 0x32D, 45, 0, 0, count, count, length, offset)
    locator = struct.pack("<IIQI", 0x07064B50, 0, offset + length, 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return record + locator + end


class Archive:
    """A bundle as a zip file: members stored, not compressed, one after the other, and no byte left to choose."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts: dict[str, int] = {}
        self.crcs: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        with path.open("rb") as file:
            self._read(file, path.stat().st_size)

    def _read(self, file: BinaryIO, length: int) -> None:
        tail = len(_tail(0, 0, 0))
        file.seek(max(0, length - tail))
        found = file.read(tail)
        count, directory, offset = struct.unpack("<QQQ", found[32:56]) if len(found) == tail else (0, 0, 0)
        fits = offset + directory + tail == length and count <= MOST_FILES and directory <= count * 256
        if not fits or found != _tail(count, directory, offset):
            raise UnreadableError("it is not a zip file as bundles are, or was cut short or added to")
        file.seek(offset)
        entries, at, start = file.read(directory), 0, 0
        for _ in range(count):
            at, start = self._member(file, entries, at, start, offset)
        if at != len(entries) or start != offset:
            raise UnreadableError("the zip file has bytes that belong to no file")

    def _member(self, file: BinaryIO, entries: bytes, at: int, start: int, end: int) -> tuple[int, int]:
        head = entries[at : at + 46]
        width = struct.unpack("<H", head[28:30])[0] if len(head) == 46 else 0  # noqa: PLR2004
        raw, extra = entries[at + 46 : at + 46 + width], entries[at + 46 + width : at + 74 + width]
        if not width or len(extra) != 28:  # noqa: PLR2004
            raise UnreadableError("the directory of the zip file was altered")
        (crc,), (size,) = struct.unpack("<I", head[16:20]), struct.unpack("<Q", extra[4:12])
        whole, local = _central(raw, size, crc, start), _local(raw, size, crc)
        if start + len(local) + size > end:
            raise UnreadableError("a file in the zip file is longer than the zip file")
        file.seek(start)
        if entries[at : at + len(whole)] != whole or file.read(len(local)) != local or not raw.isascii():
            raise UnreadableError("the frame of a file in the zip file was altered")
        name = raw.decode()
        if name in self.sizes:
            raise UnreadableError("the zip file has a file twice")
        self.sizes[name], self.crcs[name], self._starts[name] = size, crc, start + len(local)
        return at + len(whole), start + len(local) + size

    def open(self, name: str) -> BinaryIO:
        """Open the zip file where a file begins."""
        file = self._path.open("rb", buffering=0)
        file.seek(self._starts[name])
        return file


class Measured(io.RawIOBase):
    """The bytes of one file of the container, and their hashes as they are read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self.sha256 = hashlib.sha256()
        self.crc = 0
        self.read_bytes = 0
        self._file = file
        self._left = size

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most what is left of the file."""
        data = self._file.read(min(len(buffer), self._left))
        self.sha256.update(data)
        self.crc = zlib.crc32(data, self.crc)
        self.read_bytes += len(data)
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


# --- the bundle ------------------------------------------------------------------------------------------------------


class Manifest(NamedTuple):
    """What the bundle says of itself; every word of it is checked."""

    origin: str
    scope: str
    tree_size: int
    records: int
    contents: int
    files: dict[str, dict[str, Any]]


class Line(NamedTuple):
    """A line of index.txt."""

    place: int
    digest: bytes
    path: tuple[bytes, ...]


class Leaf(NamedTuple):
    """A line of leaves.ndjson and its hash; both empty where the record was pruned."""

    data: bytes
    digest: bytes


_PARTS = ("consistency.txt", "contents.ndjson", "index.txt", "keys.txt", "leaves.ndjson")
_MANIFEST_FIELDS = {"contents", "files", "format", "origin", "records", "scope", "tree_size"}


class Bundle:
    """One verification of one bundle."""

    def __init__(self, container: Container, report: Report, keys: list[Key] | None) -> None:
        """Read what is small. Raises `UnreadableError`."""
        self._container = container
        self._report = report
        self._open: dict[str, tuple[Measured, BinaryIO]] = {}
        self.manifest = self._read_manifest()
        self._check_names()
        self.keys = parse_keys(self._whole("keys.txt", LONGEST_NOTE * 16))
        self.trusted = keys or self.keys
        self.checkpoints = self._read_checkpoints()
        self.records = 0
        self.texts = 0

    def verify(self, outside: Iterable[tuple[str, bytes]]) -> None:
        """Check everything; `outside` are names and bytes of checkpoints that were kept elsewhere."""
        kept = self._read_outside(outside)
        self._check_consistency(kept)
        contents = Contents(self._lines("contents.ndjson"), self._report)
        if self.manifest.scope == "whole":
            self._walk(contents, kept)
        else:
            self._check_selection(contents)
        contents.end()
        self.texts = contents.count
        for name, found in (("records", self.records), ("contents", self.texts)):
            if getattr(self.manifest, name) != found:
                self._report.add("manifest", f"it says {getattr(self.manifest, name)} {name}, here are {found}")
        self._check_digests()

    # what is small

    def _read_manifest(self) -> Manifest:
        if "manifest.json" not in self._container.sizes:
            raise UnreadableError("there is no manifest.json: this is not a bundle")
        data = self._whole("manifest.json", LONGEST_MANIFEST)
        try:
            fields = _DECODER.decode(data.decode())
            fine = _written(fields).encode() == data and set(fields) == _MANIFEST_FIELDS
            fine = fine and fields["format"] == FORMAT and fields["scope"] in ("whole", "selection")
            fine = fine and all(type(fields[name]) is int for name in ("tree_size", "records", "contents"))
            fine = fine and isinstance(fields["origin"], str) and isinstance(fields["files"], dict)
        except (ValueError, TypeError, RecursionError):
            fine = False
        if not fine:
            raise UnreadableError(f"manifest.json is not the manifest of an {FORMAT}")
        del fields["format"]
        return Manifest(**fields)

    def _check_names(self) -> None:
        sizes, said = self._container.sizes, self.manifest.files
        for name in _PARTS:
            if name not in sizes:
                raise UnreadableError(f"{name} is missing")
        for name in sorted({*sizes, *said} - {"manifest.json"}):
            if name not in said:
                self._report.add("file", f"{name!r} is in the bundle, but not in its manifest")
            elif name not in sizes:
                self._report.add("file", f"{name!r} is missing")
            elif name not in _PARTS and not _CHECKPOINT.fullmatch(name):
                self._report.add("file", f"{name!r} is no part of a bundle")

    def _read_checkpoints(self) -> list[Checkpoint]:
        checkpoints = []
        for name in sorted(name for name in self._container.sizes if _CHECKPOINT.fullmatch(name)):
            try:
                checkpoint = parse_checkpoint(self._whole(name, LONGEST_NOTE), self.trusted, name)
            except UnreadableError as error:
                self._report.add("checkpoint", str(error))
                continue
            if checkpoint.origin != self.manifest.origin or checkpoint.size != int(name[-20:]):
                self._report.add("checkpoint", f"{name} is of another log or size")
                continue
            checkpoints.append(checkpoint)
        if not checkpoints:
            raise UnreadableError("no checkpoint in it can be trusted, so nothing in it is proved")
        if checkpoints[-1].size != self.manifest.tree_size:
            self._report.add("manifest", "its tree_size is not that of the last checkpoint")
        return checkpoints

    def _read_outside(self, outside: Iterable[tuple[str, bytes]]) -> list[Checkpoint]:
        kept = []
        for label, data in outside:
            try:
                checkpoint = parse_checkpoint(data, self.trusted, label, outside=True)
            except UnreadableError as error:
                self._report.add("checkpoint", str(error))
                continue
            if checkpoint.origin != self.manifest.origin:
                self._report.add("checkpoint", f"{label} is of another log: {checkpoint.origin!r}")
                continue
            kept.append(checkpoint)
        return kept

    def _check_consistency(self, kept: list[Checkpoint]) -> None:
        """Check that every checkpoint continues the one before, and for a selection those kept outside too."""
        roots = {one.size: one.root for one in self.checkpoints}
        outside = {one.size: one for one in kept}
        proved = {(size, size) for size in roots}
        for match in self._matches("consistency.txt", _PROOF_LINE):
            old, new, path = int(match[1]), int(match[2]), _hashes(match[3])
            before = roots.get(old) or (outside[old].root if old in outside else None)
            if new not in roots or before is None:
                continue  # made for a checkpoint that was not given
            if consistent(old, new, before, roots[new], path):
                proved.add((old, new))
            elif old in roots:
                self._report.add("consistency", f"the log of {new} records does not continue that of {old}")
        sizes = sorted(roots)
        for pair in itertools.pairwise(sizes):
            if pair not in proved and pair[0]:
                self._report.add("consistency", f"nothing proves that {pair[1]} records continue {pair[0]}")
        if self.manifest.scope == "selection":
            for one in kept:
                self._check_outside(one, roots, proved, sizes[-1])

    def _check_outside(
        self, one: Checkpoint, roots: dict[int, bytes], proved: set[tuple[int, int]], newest: int
    ) -> None:
        if one.size > newest:
            what = f"{one.label} covers {one.size} records, the bundle's log only {newest}"
            self._report.add("rollback", what)
        elif roots.get(one.size, one.root) != one.root:
            what = f"{one.label} has another root for {one.size} records: the log was forked or rewritten"
            self._report.add("fork", what)
        elif one.size and (one.size, newest) not in proved and one.size not in roots:
            what = f"nothing in the bundle proves that it continues {one.label}: ask for the whole log"
            self._report.add("consistency", what)

    # what is long

    def _walk(self, contents: "Contents", kept: list[Checkpoint]) -> None:
        walk = Walk(self._report)
        walk.expect(sorted([*self.checkpoints, *kept], key=lambda one: (one.size, one.outside)))
        checks = Records(self._report, contents)
        for line, leaf in Aligned(self._index(), self._leaves(), self._report):
            if line.place > walk.size:
                self._report.add("missing", "it is not in the bundle", walk.size, line.place - 1)
                walk.gap(min(line.place - walk.size, self.manifest.tree_size))
            if line.place < walk.size:
                self._report.add("reordered", "it is there twice, or out of its place", line.place)
                continue
            walk.add((leaf and leaf.digest) or line.digest, line.digest)
            checks.add(line.place, leaf)
        if walk.size > self.manifest.tree_size:
            what = "the last checkpoint does not cover them"
            self._report.add("extra", what, self.manifest.tree_size, walk.size - 1)
        walk.end()
        checks.end()
        self.records = checks.count
        self._find_twice(checks.seen.late)

    def _check_selection(self, contents: "Contents") -> None:
        newest = self.checkpoints[-1]
        checks, before = Records(self._report, contents), -1
        for line, leaf in Aligned(self._index(), self._leaves(), self._report):
            if line.place <= before:
                self._report.add("reordered", "it is there twice, or out of its place", line.place)
            before = max(before, line.place)
            digest = (leaf and leaf.digest) or line.digest
            if not included(line.place, newest.size, digest, line.path, newest.root):
                what = f"nothing proves that it is in the log of {newest.size} records"
                self._report.add("inclusion", what, line.place)
            checks.add(line.place, leaf)
        checks.end()
        self.records = checks.count
        self._find_twice(checks.seen.late)

    def _find_twice(self, late: dict[str, int]) -> None:
        """Read the leaves again for ids that came too late to be sure the first time."""
        if not late:
            return
        seen: set[str] = set()
        for index, data in enumerate(self._lines("leaves.ndjson", again=True)):
            with suppress(ValueError):
                entry_id = read_leaf(data)["entry_id"]
                if entry_id in late:
                    if entry_id in seen:
                        self._report.add("duplicate", "its entry_id is that of an earlier record", index)
                    seen.add(entry_id)

    # files

    def _index(self) -> Iterator[Line]:
        for match in self._matches("index.txt", _INDEX_LINE):
            place, digest, path = match.groups()
            yield Line(int(place), binascii.unhexlify(digest), tuple(_hashes(path)) if path else ())

    def _leaves(self) -> Iterator[Leaf]:
        for data in self._lines("leaves.ndjson"):
            yield Leaf(data, leaf_hash(data) if data else b"")

    def _matches(self, name: str, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
        for data in self._lines(name):
            match = pattern.fullmatch(data)
            if match is None:
                raise UnreadableError(f"{name} has a line that is none")
            yield match

    def _lines(self, name: str, *, again: bool = False) -> Iterator[bytes]:
        """Yield the lines of a file without their ends."""
        reader, begun = self._reader(name, again=again), [b""]
        while (data := reader.read(_AT_ONCE)) and sum(map(len, begun)) <= LONGEST_LINE:
            *lines, rest = data.split(b"\n")
            if lines:
                lines[0] = b"".join([*begun, lines[0]])
                begun.clear()
                yield from lines
            begun.append(rest)
        if any(begun):
            raise UnreadableError(f"{name} has a line that is too long, or ends within one")

    def _whole(self, name: str, limit: int) -> bytes:
        if self._container.sizes[name] > limit:
            raise UnreadableError(f"{name} is too long")
        return self._reader(name).read(limit)

    def _reader(self, name: str, *, again: bool = False) -> BinaryIO:
        measured = Measured(self._container.open(name), self._container.sizes[name])
        reader = cast("BinaryIO", io.BufferedReader(measured, 2**20))
        if not again:
            self._open[name] = (measured, reader)
        return reader

    def _check_digests(self) -> None:
        """Check that every file was as the manifest and the container say, to the last byte."""
        for name, (measured, reader) in self._open.items():
            while reader.read(2**20):
                pass
            if measured.crc != self._container.crcs.get(name, measured.crc):
                self._report.add("file", f"{name} does not have its checksum in the zip file")
            found = {"bytes": measured.read_bytes, "sha256": measured.sha256.hexdigest()}
            if name != "manifest.json" and self.manifest.files.get(name) != found:
                self._report.add("file", f"{name} is not the file that the manifest names")

    def close(self) -> None:
        """Close every file."""
        for _, reader in self._open.values():
            reader.close()


_Item = TypeVar("_Item")


class Ahead(Generic[_Item]):
    """An iterator of which some items ahead can be seen."""

    def __init__(self, items: Iterator[_Item]) -> None:
        self._items = items
        self._seen: deque[_Item] = deque()

    def take(self) -> _Item | None:
        """Return the next item and go on; None at the end."""
        return self._seen.popleft() if self._seen else next(self._items, None)

    def put_back(self, item: _Item) -> None:
        """Make an item the next one again."""
        self._seen.appendleft(item)

    def ahead(self) -> Iterator[_Item]:
        """Return the items that are next, at most `AHEAD`."""
        self._seen.extend(itertools.islice(self._items, max(0, AHEAD - len(self._seen))))
        return iter(self._seen)


class Aligned:
    """Yields each line of the index with its leaf; what has no partner is reported, and named.

    None stands for a leaf that is missing.
    """

    def __init__(self, lines: Iterator[Line], leaves: Iterator[Leaf], report: Report) -> None:
        self._lines = Ahead(lines)
        self._leaves = Ahead(leaves)
        self._report = report
        self._last = b""
        self._displaced: deque[bytes] = deque(maxlen=AHEAD)

    def __iter__(self) -> Iterator[tuple[Line, Leaf | None]]:
        """Go through both to their ends."""
        lines, leaves = self._lines, self._leaves
        while (line := lines.take()) is not None:
            leaf = leaves.take()
            if leaf is not None and leaf.digest in (line.digest, b""):
                self._last = line.digest
                yield line, leaf
                continue
            code = self._out_of_line(line, leaf)
            if code in ("duplicate", "extra"):
                lines.put_back(line)
                continue
            self._last = line.digest
            if code == "missing" and leaf is not None:
                leaves.put_back(leaf)
            yield line, None if code == "missing" else leaf
        while (leaf := leaves.take()) is not None:
            self._report.add("extra", f"a leaf with hash {leaf.digest.hex()} follows that the index does not have")

    def _out_of_line(self, line: Line, leaf: Leaf | None) -> str:
        """Say why a leaf is not that of its line; return the code."""
        if leaf is None:
            self._report.add("missing", "its leaf is not in the bundle", line.place)
            return "missing"
        later = any(one.digest == leaf.digest for one in self._lines.ahead())
        elsewhere = any(one.digest == line.digest for one in self._leaves.ahead())
        moved = (later and elsewhere) or leaf.digest in self._displaced
        if moved:
            code, what = "reordered", "another record's leaf is in its place"
            self._displaced.append(line.digest)
        elif later:
            code, what = "missing", "its leaf is not in the bundle"
        elif elsewhere:
            code = "duplicate" if leaf.digest == self._last else "extra"
            what = "before it stands a leaf that the index does not have"
        else:
            code, what = "altered", "its leaf is not the one that was logged"
        instead = f": hash {leaf.digest.hex()} instead of {line.digest.hex()}" if code != "missing" else ""
        self._report.add(code, what + instead, line.place)
        return code


def _hashes(match: bytes) -> list[bytes]:
    return [binascii.unhexlify(one) for one in match.split()]


class Records:
    """What each record is held to by itself, whichever way it came."""

    def __init__(self, report: Report, contents: "Contents | None" = None, forms: Forms | None = None) -> None:
        self.count = 0
        self.seen = SeenIds()
        self.pruned = Pruned(report)
        self._forms = forms or Forms()
        self._report = report
        self._contents = contents

    def add(self, index: int, leaf: Leaf | None) -> None:
        """Check a record; None: that its leaf is missing was reported already."""
        may_be_known = leaf is not None and leaf.data and not (self._contents and self._contents.reaches(index))
        if not (may_be_known and leaf is not None and self.known(index, leaf.data)):
            self.read(index, leaf)

    def known(self, index: int, leaf: bytes) -> bool:
        """Check a record whose leaf has a known form; False when it has to be read."""
        entry_id = self._forms.entry_id(leaf)
        if entry_id is None:
            return False
        self.took(index, [entry_id])
        return True

    def took(self, index: int, entry_ids: Sequence[str]) -> None:
        """Take records from `index` on whose leaves have known forms: only whether an id came before is open."""
        self.count += len(entry_ids)
        if entry_ids and not self.seen.add_risen(entry_ids, index):
            for at, entry_id in enumerate(entry_ids, index):
                self._see(entry_id, at)

    def read(self, index: int, leaf: Leaf | None) -> dict[str, Any] | None:
        """Check a record as `add` does, and return its fields when it has a leaf that can be read."""
        self.count += 1
        if leaf is None:
            return None
        if not leaf.data:
            self.pruned.gone(index)
            return None
        try:
            fields = self._forms.read(leaf.data)
        except ValueError as error:
            self._report.add("malformed", f"its leaf is no record: {error}", index)
            return None
        self._see(fields["entry_id"], index)
        if fields["kind"] == "retention.pruned":
            self.pruned.said(index, fields)
        if self._contents is not None:
            self._contents.check(index, fields)
        return fields

    def _see(self, entry_id: str, index: int) -> None:
        before = self.seen.add(entry_id, index)
        if before is not None:
            self._report.add("duplicate", f"its entry_id is that of record {before}", index)

    def end(self) -> None:
        """Check what only the whole shows."""
        self.pruned.end()


class Contents:
    """The texts that come with a bundle, each against the commitment in its record's leaf."""

    def __init__(self, lines: Iterator[bytes], report: Report) -> None:
        self.count = 0
        self._report = report
        self._texts = self._read(lines)
        self._next = next(self._texts, None)

    def reaches(self, index: int) -> bool:
        """Whether a text of this record, or of one before it, is the next one."""
        return self._next is not None and self._next["index"] <= index

    def check(self, index: int, fields: dict[str, Any]) -> None:
        """Check the texts of a record."""
        if self._next is None:
            return
        self._pass(index)
        while self._next is not None and self._next["index"] == index:
            self._check_one(self._next, fields.get("commitments"))
            self._next = next(self._texts, None)

    def end(self) -> None:
        """Report texts whose record is not there."""
        self._pass(None)

    def _pass(self, index: int | None) -> None:
        while self._next is not None and (index is None or self._next["index"] < index):
            what = "there is a text of it, but no leaf to check it against"
            self._report.add("content", what, self._next["index"])
            self._next = next(self._texts, None)

    def _check_one(self, text: dict[str, Any], commitments: Any) -> None:
        ordinal, promise = text["ordinal"], None
        if isinstance(commitments, list) and ordinal < len(commitments):
            promise = commitments[ordinal]
        data = text["text"].encode("utf-8", "surrogatepass")
        held = {
            "characters": len(text["text"]),
            "commitment": commitment(bytes.fromhex(text["nonce"]), data),
            "name": text["name"],
            "role": text["role"],
        }
        if promise != held:
            what = f"text {ordinal} is not the one that its leaf commits to"
            self._report.add("content", what, text["index"])

    def _read(self, lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
        before = (-1, -1)
        for data in lines:
            self.count += 1
            try:
                text = json.loads(data)
                fine = set(text) == {"index", "name", "nonce", "ordinal", "role", "text"}
                place = (text["index"], text["ordinal"])
                fine = fine and all(type(one) is int and one >= 0 for one in place) and place > before
                fine = fine and all(isinstance(text[name], str) for name in ("name", "nonce", "role", "text"))
                fine = fine and re.fullmatch("[0-9a-f]{64}", text["nonce"]) is not None
            except (ValueError, TypeError, KeyError, RecursionError):
                fine = False
            if not fine:
                self._report.add("content", f"line {self.count} of contents.ndjson is no text, or out of its place")
                continue
            before = place
            yield text


# --- the command -----------------------------------------------------------------------------------------------------


class Summary(NamedTuple):
    """What was verified."""

    ok: bool
    findings: int
    origin: str = ""
    records: int = 0
    texts: int = 0
    tree_size: int = 0
    checkpoints: int = 0
    keys: tuple[str, ...] = ()
    """Public keys of the log."""
    keys_given: bool = False
    """They were given from outside; otherwise they came with what was verified, and prove no origin."""
    about: str = ""
    """What a proof is about."""


def verify_bundle(
    path: Path, show: Callable[[Finding], None], keys: list[Key] | None, outside: Iterable[tuple[str, bytes]]
) -> Summary:
    """Verify a bundle (zip file or folder); `show` gets each finding."""
    report, bundle = Report(show), None
    try:
        container = Folder(path) if path.is_dir() else Archive(path)
        bundle = Bundle(container, report, keys)
        bundle.verify(outside)
    except UnreadableError as error:
        report.add("unreadable", str(error))
    except OSError as error:
        report.add("unreadable", f"{path}: {error.strerror}")
    if bundle is None:
        return Summary(ok=False, findings=report.count)
    bundle.close()
    return Summary(
        ok=not report.count,
        findings=report.count,
        origin=bundle.manifest.origin,
        records=bundle.records,
        texts=bundle.texts,
        tree_size=bundle.manifest.tree_size,
        checkpoints=len(bundle.checkpoints),
        keys=tuple(key.text for key in bundle.trusted),
        keys_given=keys is not None,
    )


_PROOF_HEAD = b"c2sp.org/tlog-proof@v1\n"


def is_proof(path: Path) -> bool:
    """Whether a file begins as the proof of one record does."""
    try:
        with path.open("rb") as file:
            return file.read(len(_PROOF_HEAD)) == _PROOF_HEAD
    except OSError:
        return False


def verify_proof(path: Path, show: Callable[[Finding], None], keys: list[Key] | None) -> Summary:
    """Verify the proof of one record (C2SP tlog-proof) that has the record's leaf in its `extra` line."""
    report = Report(show)
    if keys is None:
        report.add("key", "a proof comes without keys: give the log's with --key")
        return Summary(ok=False, findings=report.count)
    checkpoint, about = None, ""
    try:
        data = _read(path, LONGEST_LINE)
        head, _, note = data.partition(b"\n\n")
        checkpoint = parse_checkpoint(note, keys, "its checkpoint")
        about = _check_proof(head.decode("ascii").split("\n")[1:], checkpoint, report)
    except (UnreadableError, UnicodeDecodeError) as error:
        report.add("unreadable", str(error) if isinstance(error, UnreadableError) else "the proof is not text")
    return Summary(
        ok=not report.count,
        findings=report.count,
        origin=checkpoint.origin if checkpoint else "",
        records=1,
        tree_size=checkpoint.size if checkpoint else 0,
        checkpoints=1,
        keys=tuple(key.text for key in keys),
        keys_given=True,
        about=about,
    )


def _check_proof(lines: list[str], checkpoint: Checkpoint, report: Report) -> str:
    leaf = _base64(lines[0].removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    place = _SIZE.fullmatch(lines[1].removeprefix("index ")) if len(lines) > 1 else None
    path = [_base64(line) or b"" for line in lines[2:]]
    if not leaf or place is None or not lines[1].startswith("index ") or any(len(one) != 32 for one in path):  # noqa: PLR2004
        raise UnreadableError("it is not the proof of a record together with its leaf")
    index = int(place[0])
    if not included(index, checkpoint.size, leaf_hash(leaf), path, checkpoint.root):
        report.add("inclusion", f"nothing proves that it is in the log of {checkpoint.size} records", index)
    try:
        fields = read_leaf(leaf)
    except ValueError as error:
        report.add("malformed", f"its leaf is no record: {error}", index)
        return ""
    return f"record {index}: {fields['kind']} at {fields['at']}, {fields['entry_id']}"


def describe(summary: Summary) -> Iterator[str]:
    """Yield a summary as lines for people."""
    if summary.keys:
        yield (
            f"{summary.origin}: {summary.records} records, {summary.texts} texts, {summary.checkpoints} checkpoints, "
            f"the newest over {summary.tree_size} records"
        )
        whence = "given" if summary.keys_given else "not given from outside: compare it with the one published to you"
        for key in summary.keys:
            yield f"key {key} ({whence})"
    if summary.about:
        yield summary.about
    yield "OK: all holds" if summary.ok else f"FAILED: {summary.findings} findings"


def main(arguments: list[str] | None = None) -> int:
    """Verify the bundle that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Verify a bundle, or the proof of a record, of an Attest audit log.")
    parser.add_argument("bundle", type=Path, metavar="FILE", help="bundle (zip file or folder), or proof")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the log's public keys, as you were given them")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", action="append", default=[], help="a checkpoint kept elsewhere"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line: findings, then the summary")
    chosen = parser.parse_args(arguments)
    try:
        keys = parse_keys(_read(chosen.key)) if chosen.key else None
        outside = [(path.name, _read(path)) for path in chosen.checkpoint]
    except UnreadableError as error:
        parser.error(str(error))
    show = _show_json if chosen.json else _show
    if outside and is_proof(chosen.bundle):
        parser.error("--checkpoint goes with a bundle; a proof has its own")
    if is_proof(chosen.bundle):
        summary = verify_proof(chosen.bundle, show, keys)
    else:
        summary = verify_bundle(chosen.bundle, show, keys, outside)
    if chosen.json:
        _write(json.dumps(summary._asdict(), sort_keys=True))
    else:
        for line in describe(summary):
            _write(_UNFIT.sub("?", line))
    return 0 if summary.ok else 1


def _read(path: Path, limit: int = LONGEST_NOTE * 16) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None


def _show(finding: Finding) -> None:
    _write(finding.line())


def _show_json(finding: Finding) -> None:
    _write(json.dumps(finding.fields(), sort_keys=True))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
