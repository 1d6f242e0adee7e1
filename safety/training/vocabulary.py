"""The tokenizer: MiniLM's English wordpieces, pruned to those in use, with Chinese characters, words and emoji added.

Chinese words stand as added tokens (longest match first), which makes Chinese a third shorter than characters alone.
Every character that is neither a-z nor 0-9 is a piece of its own, and letter runs are cut at 64: so no unknown
character and no endless word can turn its neighbours into one `[UNK]`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Sequence, Split
from tokenizers.processors import TemplateProcessing

from safety.classifier.tokenise import is_han

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
COMMON_IDS = 8000
"""Wordpieces below this id are kept even when the data does not use them: they are the language's commonest."""
LONGEST_RUN = 64


def base_tokenizer(folder: Path) -> Tokenizer:
    """Load MiniLM's own tokenizer without its padding and truncation."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _is_emoji(character: str) -> bool:
    return "\U0001f000" <= character <= "\U0001faff" or "\u2600" <= character <= "\u27bf"


def build(
    base: Tokenizer,
    texts: Iterable[str],
    words_of: Callable[[str], Iterable[str]],
    *,
    piece_count: int = 5,
    character_count: int = 5,
    word_count: int = 40,
    words: int = 4500,
) -> Tokenizer:
    """Make the tokenizer from the texts that it must serve; the thresholds are least counts in them."""
    pieces: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    chinese: Counter[str] = Counter()
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        characters.update(character for character in text if is_han(character) or _is_emoji(character))
        if any(is_han(character) for character in text[:40]):
            chinese.update(word for word in words_of(text) if _is_word(word))
        if len(batch) == 4000:  # noqa: PLR2004 - any number that fits memory
            _count(base, batch, pieces)
            batch = []
    _count(base, batch, pieces)
    kept = list(SPECIAL) + [
        piece
        for piece, at in sorted(base.get_vocab().items(), key=lambda item: item[1])
        if piece not in SPECIAL and _keep(piece, at, pieces[piece], piece_count)
    ]
    known = set(kept)
    kept += [
        character
        for character, count in sorted(characters.items())
        if count >= character_count and character not in known
    ]
    added = [word for word, count in chinese.most_common(words) if count >= word_count]
    return assemble(kept, added)


def _is_word(word: str) -> bool:
    return 2 <= len(word) <= 4 and all(is_han(character) for character in word)  # noqa: PLR2004 - Chinese words


def _keep(piece: str, at: int, count: int, least: int) -> bool:
    if piece.startswith("[unused"):
        return False
    core = piece.removeprefix("##")
    if len(core) == 1:
        return core.isascii() or (not is_han(core) and not piece.startswith("##"))
    return core.isascii() and (at < COMMON_IDS or count >= least)


def _count(base: Tokenizer, batch: list[str], pieces: Counter[str]) -> None:
    for encoding in base.encode_batch(batch, add_special_tokens=False):
        pieces.update(encoding.tokens)


def assemble(pieces: list[str], words: list[str]) -> Tokenizer:
    """Put the parts together: lower case without accents, pieces, words in front of them, `[CLS]` and `[SEP]`."""
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=SPECIAL[1], max_input_chars_per_word=LONGEST_RUN))
    tokenizer.normalizer = BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=True
    )
    tokenizer.pre_tokenizer = Sequence(
        [
            BertPreTokenizer(),
            Split(Regex("[^a-z0-9]"), "isolated"),
            Split(Regex(f"[a-z0-9]{{1,{LONGEST_RUN}}}"), "isolated"),
        ]
    )
    tokenizer.add_tokens([AddedToken(word, normalized=True) for word in words])
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer


def without_words(tokenizer: Tokenizer) -> Tokenizer:
    """Return the same tokenizer with Chinese as characters only: some rows are shown that way, so both are learned."""
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = []
    plain: Tokenizer = Tokenizer.from_str(json.dumps(spec))
    return plain
