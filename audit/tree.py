"""The Merkle tree of RFC 6962, section 2.1: roots, inclusion proofs, consistency proofs. Pure functions.

Subtrees are named by nodes: `Node(level, position)` is the perfect subtree over the 2^level leaves that begin at
position · 2^level. Whoever asks for a proof first asks which nodes it takes, fetches them, and hands over a function
that reads them; so nothing here waits for a database.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""
HASH_BYTES = 32


class ProofError(ValueError):
    """A proof does not show what it should; the message says which part."""


class Node(NamedTuple):
    """A perfect subtree."""

    level: int
    position: int


class Span(NamedTuple):
    """The leaves from `begin` up to, not including, `end`; never empty."""

    begin: int
    end: int


ReadNode = Callable[[Node], bytes]
"""Gives the hash of a perfect subtree."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_of(span: Span) -> tuple[Node, ...]:
    """Return the fewest perfect subtrees that make up a span, left to right.

    `span.begin` must be aligned as the tree's own splits are, so that they get smaller from left to right.
    """
    nodes, at = [], span.begin
    while at < span.end:
        level = (span.end - at).bit_length() - 1
        if at:
            level = min(level, (at & -at).bit_length() - 1)
        nodes.append(Node(level, at >> level))
        at += 1 << level
    return tuple(nodes)


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees, given left to right, each smaller than the one before."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root(size: int, read: ReadNode) -> bytes:
    """Return the root of the tree over the first `size` leaves."""
    return fold([read(node) for node in nodes_of(Span(0, size))])


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over these leaf hashes."""
    edge = Edge()
    for leaf_hash in leaf_hashes:
        edge.append(leaf_hash)
    return edge.root()


def inclusion_spans(index: int, size: int) -> tuple[Span, ...]:
    """Return the spans whose hashes are the audit path of a leaf, from its sibling to the root's child.

    Raises `ProofError` when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    spans, begin, end = [], 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            spans.append(Span(middle, end))
            end = middle
        else:
            spans.append(Span(begin, middle))
            begin = middle
    return tuple(reversed(spans))


def consistency_spans(old: int, new: int) -> tuple[Span, ...]:
    """Return the spans whose hashes prove that the first `old` of `new` leaves are unchanged, in the RFC's order.

    Raises `ProofError` when there is nothing to prove (an older tree that is empty or larger).
    """
    if not 0 < old <= new:
        raise ProofError(f"there is no proof from {old} leaves to {new}")
    spans, begin, end, whole = [], 0, new, True
    while end != old:
        middle = begin + _split(end - begin)
        if old <= middle:
            spans.append(Span(middle, end))
            end = middle
        else:
            spans.append(Span(begin, middle))
            begin, whole = middle, False
    if not whole:
        spans.append(Span(begin, end))
    return tuple(reversed(spans))


def path(spans: Iterable[Span], read: ReadNode) -> tuple[bytes, ...]:
    """Return the hashes of spans: a proof."""
    return tuple(fold([read(node) for node in nodes_of(span)]) for span in spans)


def inclusion_path(index: int, size: int, read: ReadNode) -> tuple[bytes, ...]:
    """Return the audit path of a leaf in the tree over the first `size` leaves. Raises `ProofError`."""
    return path(inclusion_spans(index, size), read)


def consistency_path(old: int, new: int, read: ReadNode) -> tuple[bytes, ...]:
    """Return the proof that the tree over `new` leaves extends the one over `old`. Raises `ProofError`."""
    return path(consistency_spans(old, new), read)


def verify_inclusion(index: int, size: int, leaf_hash: bytes, root_hash: bytes, proof: Sequence[bytes]) -> None:
    """Check an audit path as RFC 9162, section 2.1.3.2, says. Raises `ProofError`."""
    if not 0 <= index < size:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")
    found = leaf_hash
    for hash_, on_left in _climb(index, size - 1, proof):
        found = node_hash(hash_, found) if on_left else node_hash(found, hash_)
    if found != root_hash:
        raise ProofError("the audit path does not lead to the root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check a consistency proof as RFC 9162, section 2.1.4.2, says. Raises `ProofError`."""
    if old == new:
        if proof or old_root != new_root:
            raise ProofError("two trees of the same size differ")
        return
    if not 0 < old < new:
        raise ProofError(f"there is no proof from {old} leaves to {new}")
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    if not hashes:
        raise ProofError("the proof is too short")
    shift = (old & -old).bit_length() - 1  # the levels that both trees have whole on the way to the old edge
    of_old = of_new = hashes[0]
    for hash_, on_left in _climb((old - 1) >> shift, (new - 1) >> shift, hashes[1:]):
        if on_left:
            of_old = node_hash(hash_, of_old)
        of_new = node_hash(hash_, of_new) if on_left else node_hash(of_new, hash_)
    if of_old != old_root:
        raise ProofError("the older root is not in the newer tree")
    if of_new != new_root:
        raise ProofError("the proof does not lead to the newer root")


def _climb(position: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Give each hash of a proof and whether it stands to the left, on the way up from a node of a level's `last` + 1.

    Raises `ProofError` when the proof is not as long as the way.
    """
    for hash_ in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        on_left = bool(position & 1) or position == last
        while on_left and not position & 1 and position:  # on the right edge, levels without a sibling
            position, last = position >> 1, last >> 1
        yield hash_, on_left
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError("the proof is too short")


class Edge:
    """The right edge of a growing tree: the hashes of `nodes_of(Span(0, size))`. Not safe across threads."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Begin at a tree that is there. Raises `ValueError` when `hashes` are not as many as its edge has."""
        self.size = size
        self._hashes = list(hashes)
        if len(self._hashes) != size.bit_count():
            raise ValueError(f"the edge of {size} leaves has {size.bit_count()} hashes")

    def append(self, leaf_hash: bytes) -> None:
        """Add a leaf."""
        hashes, size, node = self._hashes, self.size, leaf_hash
        while size & 1:
            node = node_hash(hashes.pop(), node)
            size >>= 1
        hashes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        return fold(self._hashes)

    def copy(self) -> "Edge":
        """Return another edge at the same place."""
        return Edge(self.size, self._hashes)


def _split(size: int) -> int:
    """Return the largest power of two smaller than `size` (RFC 6962's k)."""
    return 1 << (size - 1).bit_length() - 1
