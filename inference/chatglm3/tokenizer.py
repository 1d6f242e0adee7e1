"""ChatGLM3's tokens: SentencePiece for text, and special tokens that exist only as integers.

Text can never become a special token, because no string form of one is ever looked up: `<|user|>`, `[gMASK]` or `</s>`
in a message stay the text that they are.
"""

from dataclasses import dataclass
from pathlib import Path

import sentencepiece

_LARGEST_FILE = 64 * 2**20


class TokenizerError(Exception):
    """`tokenizer.model` is missing, damaged or does not fit; the message names the file."""


@dataclass(frozen=True)
class Specials:
    """Ids of the special tokens: they follow the pieces of the SentencePiece vocabulary in this order."""

    pieces: int
    """Size of the SentencePiece vocabulary; 64,789 for the published models."""
    eos: int

    @property
    def gmask(self) -> int:
        """Id of [gMASK], with which each prompt begins."""
        return self.pieces + 1

    @property
    def sop(self) -> int:
        """Id of sop, the second token of each prompt."""
        return self.pieces + 3

    @property
    def system(self) -> int:
        """Id that opens a system message."""
        return self.pieces + 5

    @property
    def user(self) -> int:
        """Id that opens a user's message; a reply ends with it too."""
        return self.pieces + 6

    @property
    def assistant(self) -> int:
        """Id that opens a reply."""
        return self.pieces + 7

    @property
    def observation(self) -> int:
        """Id that opens a tool's result; a reply that calls a tool ends with it."""
        return self.pieces + 8

    @property
    def count(self) -> int:
        """Ids in use: pieces and special tokens."""
        return self.pieces + 9

    @property
    def stop_ids(self) -> tuple[int, int, int]:
        """Ids that end a reply."""
        return self.eos, self.user, self.observation


class Tokenizer:
    """Text ↔ ids of one SentencePiece file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `TokenizerError`."""
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise TokenizerError(f"{path} is larger than {_LARGEST_FILE} bytes")
            if not path.is_file():
                raise TokenizerError(f"{path} is no regular file")
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        except FileNotFoundError:
            raise TokenizerError(f"{path} is missing") from None
        except OSError as error:
            raise TokenizerError(f"{path} cannot be read: {error.strerror}") from None
        except RuntimeError:
            raise TokenizerError(f"{path} is not a SentencePiece model") from None
        size = self._pieces.vocab_size()
        if self._pieces.eos_id() < 0 or size == 0:
            raise TokenizerError(f"{path} has no end-of-sequence piece")
        self.specials = Specials(pieces=size, eos=self._pieces.eos_id())
        self.longest_piece = max(len(self._pieces.id_to_piece(index)) for index in range(size))
        """Characters of the longest piece: text of n characters has at least n / longest_piece tokens."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; only ids of pieces, never of special tokens. Raises ValueError for surrogates."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("the text has a lone surrogate") from None
        return list(self._pieces.encode(text))

    def piece(self, index: int) -> bytes:
        """Return what an id adds to a text, in bytes: one byte of a character where there is no piece for the whole."""
        if not 0 <= index < self.specials.pieces or self._pieces.is_control(index) or self._pieces.is_unknown(index):
            return b""
        piece = str(self._pieces.id_to_piece(index))
        if self._pieces.is_byte(index):
            return bytes.fromhex(piece[3:5])
        return piece.replace("\u2581", " ").encode()

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids; special tokens have none and are left out."""
        return str(self._pieces.decode([index for index in ids if 0 <= index < self.specials.pieces]))
