"""Words that no answer may contain, found token by token while it is being decoded.

The words become one Aho-Corasick automaton over bytes; a token is a walk along its bytes, so that however the
tokenizer cuts a word it is found with the token that completes it. Case, width and runs of blanks make no difference;
a Latin word must stand alone, so that one is known only with what follows it.
"""

import codecs
import hashlib
import threading
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from inference.errors import RequestRefusedError
from inference.ports import ForbiddenWords

MOST_WORDS = 10_000
"""Most words of one request together."""
LONGEST_WORD = 256
MOST_NODES = 1 << 20
"""Most nodes of an automaton, about as many as there are bytes in its words; 280 MB. A policy has 200,000 characters at
most, so that no gateway's words come to it."""
_MOST_STEPS = 1 << 20
_KEPT = 4
_SPACE = 0x20
_IGNORED = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufeff")


def digest(lists: tuple[ForbiddenWords, ...]) -> str:
    """Return the identity of words: what an engine that stops at them answers with."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(lists)).hexdigest() if lists else ""


class _Word(msgspec.Struct, frozen=True):
    rule: str
    length: int
    """Bytes."""
    opens_latin: bool
    ends_latin: bool


class _Step(msgspec.Struct, frozen=True):
    node: int
    folded: bytes
    hits: tuple[tuple[int, _Word], ...]
    """Ends of words within `folded`."""
    rest: bytes
    """The bytes of a last character that is not whole yet: they are read with what follows."""


class Automaton:
    """The words compiled; `piece` gives the bytes of a token."""

    def __init__(self, lists: tuple[ForbiddenWords, ...], piece: Callable[[int], bytes]) -> None:
        """Compile. Raises `RequestRefusedError` for words that are too long together."""
        self.digest = digest(lists)
        self._piece = piece
        self._next: list[dict[int, int]] = [{}]
        self._found: list[tuple[_Word, ...]] = [()]
        for part in lists:
            for word in part.words:
                self._add(part.rule, b" ".join(fold(word.encode("utf-8", "replace").decode()).split()))
                if self.nodes > MOST_NODES:
                    raise RequestRefusedError("The forbidden words are too long together.", param="forbidden")
        self._fail = self._failures()
        self.longest = max((word.length for found in self._found for word in found), default=0)
        self._steps: dict[tuple[int, bool, int], _Step] = {}

    @property
    def nodes(self) -> int:
        """How large it is."""
        return len(self._next)

    def step(self, node: int, *, after_space: bool, token: int, rest: bytes) -> _Step:
        """Return where a token leads from a node, after what is left of the one before; most are computed once."""
        if rest:
            return self.walk(node, rest + self._piece(token), after_space=after_space)
        key = (node, after_space, token)
        step = self._steps.get(key)
        if step is None:
            if len(self._steps) >= _MOST_STEPS:
                self._steps.clear()
            step = self._steps[key] = self.walk(node, self._piece(token), after_space=after_space)
        return step

    def walk(self, node: int, text: bytes, *, after_space: bool) -> _Step:
        """Return where text in UTF-8 leads from a node."""
        read, used = codecs.utf_8_decode(text, "surrogateescape", False)
        taken = bytearray()
        hits: list[tuple[int, _Word]] = []
        for byte in fold(read):
            if byte == _SPACE and after_space:
                continue
            after_space = byte == _SPACE
            taken.append(byte)
            while node and byte not in self._next[node]:
                node = self._fail[node]
            node = self._next[node].get(byte, 0)
            hits += [(len(taken), word) for word in self._found[node]]
        return _Step(node, bytes(taken), tuple(hits), text[used:])

    def _add(self, rule: str, word: bytes) -> None:
        if not word:
            return
        node = 0
        for byte in word:
            if byte not in self._next[node]:
                self._next[node][byte] = len(self._next)
                self._next.append({})
                self._found.append(())
            node = self._next[node][byte]
        text = word.decode("utf-8", "replace")
        self._found[node] += (_Word(rule, len(word), _latin(text[0]), _latin(text[-1])),)

    def _failures(self) -> list[int]:
        fail = [0] * len(self._next)
        queue = deque(self._next[0].values())
        while queue:
            node = queue.popleft()
            for byte, child in self._next[node].items():
                back = fail[node]
                while back and byte not in self._next[back]:
                    back = fail[back]
                fail[child] = self._next[back].get(byte, 0) if self._next[back].get(byte, 0) != child else 0
                self._found[child] += self._found[fail[child]]
                queue.append(child)
        return fail


class Walk:
    """One answer on its way through the automaton."""

    def __init__(self, automaton: Automaton) -> None:
        self.digest = automaton.digest
        self._automaton = automaton
        self._node = 0
        self._tail = b""
        """The folded end of the answer: enough to see what stands before a word."""
        self._pending: str = ""
        """Rule of a Latin word that the answer ends with: forbidden unless a letter or digit follows."""
        self._rest = b""
        """The bytes of a character that is not whole yet."""

    def token(self, index: int) -> str:
        """Take a token; return the rule of a word that is complete now, else nothing."""
        step = self._automaton.step(self._node, after_space=self._after_space, token=index, rest=self._rest)
        return self._take(step)

    def text(self, text: str) -> str:
        """Take text instead of a token."""
        read = self._rest + text.encode("utf-8", "replace")
        return self._take(self._automaton.walk(self._node, read, after_space=self._after_space))

    def end(self) -> str:
        """Return the rule of a word that the answer ended with, else nothing."""
        pending, self._pending = self._pending, ""
        return pending

    @property
    def _after_space(self) -> bool:
        return self._tail.endswith(b" ")

    def _take(self, step: _Step) -> str:
        self._rest = step.rest
        if not step.folded:
            return ""
        before, self._node = self._tail, step.node
        whole = before + step.folded
        pending, self._pending = self._pending, ""
        if pending and not _continues(step.folded):
            return pending
        for end, word in step.hits:
            first = len(before) + end - word.length
            if word.opens_latin and _ends_latin(whole[:first]):
                continue
            rest = step.folded[end:]
            if word.ends_latin and not rest:
                self._pending = word.rule
            elif not word.ends_latin or not _continues(rest):
                return word.rule
        self._tail = whole[-(self._automaton.longest + 8) :]
        return ""


class Lexicons:
    """Compiled automatons by their words; requests of one policy share one. Safe to use from several threads."""

    def __init__(self, piece: Callable[[int], bytes] = lambda _: b"") -> None:
        self._piece = piece
        self._kept: OrderedDict[tuple[ForbiddenWords, ...], Automaton] = OrderedDict()
        self._keeping = threading.Lock()

    def walk(self, lists: tuple[ForbiddenWords, ...]) -> Walk | None:
        """Return the walk for one answer; None where nothing is forbidden. Compiling many words takes a while.

        Raises `RequestRefusedError` for words that are too long together.
        """
        if not lists:
            return None
        automaton = self._kept.get(lists)
        if automaton is None:
            automaton = Automaton(lists, self._piece)
            self._keep(lists, automaton)
        return Walk(automaton)

    def _keep(self, lists: tuple[ForbiddenWords, ...], automaton: Automaton) -> None:
        """Keep the newest ones, as many as together have no more nodes than one may have."""
        with self._keeping:
            self._kept[lists] = automaton
            while len(self._kept) > _KEPT or (
                len(self._kept) > 1 and sum(one.nodes for one in self._kept.values()) > MOST_NODES
            ):
                self._kept.popitem(last=False)


def fold(text: str) -> bytes:
    """Return text as it is compared: NFKC, without case, every blank a space.

    Bytes that are no text (surrogates, PEP 383) stay as they are.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    blank = "".join(" " if char.isspace() else char for char in plain if char not in _IGNORED)
    return blank.encode("utf-8", "surrogateescape")


def _latin(char: str) -> bool:
    return char.isalnum() and ord(char) < 0x250  # noqa: PLR2004 - end of Latin Extended-B


def _continues(text: bytes) -> bool:
    """Whether a Latin letter or digit comes first."""
    return _latin(text[:4].decode("utf-8", "replace")[:1] or " ")


def _ends_latin(text: bytes) -> bool:
    return _latin(text[-4:].decode("utf-8", "replace")[-1:] or " ")
