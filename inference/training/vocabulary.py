"""The demo model's SentencePiece vocabulary: BPE with byte fallback, settings as in published ChatGLM3 tokenizers."""

from collections.abc import Iterable
from pathlib import Path

import sentencepiece

PIECES = 8160
CHARACTER_COVERAGE = 0.9988


def train_vocabulary(texts: Iterable[str], target: Path, *, pieces: int = PIECES) -> None:
    """Train `target` (`tokenizer.model`) on `texts`: ids 0 unknown, 1 begin, 2 end, then 256 bytes, then pieces.

    The text is taken as it is (no normalisation, white space kept), digits stay single.
    """
    with target.open("wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=pieces,
            character_coverage=CHARACTER_COVERAGE,
            byte_fallback=True,
            split_digits=True,
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            normalization_rule_name="identity",
            max_sentence_length=8192,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
