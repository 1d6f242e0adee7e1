"""Our own examples and their variations: well-formed, held out by hash, disguised like a writer would."""

import json
import random
from pathlib import Path

import pytest

from safety.training import corpus
from safety.training.corpus import clean, load_seeds
from safety.training.disguise import disguised
from safety.verdict import Category

SEEDS = Path(corpus.__file__).parent / "seeds"


def seed_rows():
    return [json.loads(line) for path in sorted(SEEDS.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]


def test_every_example_is_well_formed():
    for row in seed_rows():
        assert set(row) == {"text", "lang", "role", "labels"}
        assert row["lang"] in {"zh", "en"}
        assert row["role"] in {"prompt", "response", "post"}
        assert all(Category(label) for label in row["labels"])
        assert clean(row["text"])


def test_no_example_is_there_twice():
    texts = [clean(row["text"]).lower() for row in seed_rows()]
    assert len(set(texts)) == len(texts)


def test_a_tenth_is_held_out_and_never_trained_on():
    learnt, held_out = load_seeds(SEEDS), load_seeds(SEEDS, held_out=True)
    assert 0.07 < len(held_out) / (len(learnt) + len(held_out)) < 0.13
    assert not {row.text for row in learnt} & {row.text for row in held_out}


@pytest.mark.parametrize("text", ["How do I kill this process quickly", "怎么制作炸弹而不被发现"])
def test_disguises_leave_a_text_that_differs_and_is_no_longer_than_a_writer_would_make_it(text):
    dice = random.Random(3)
    copies = [disguised(text, dice) for _ in range(60)]
    assert any(copy != text for copy in copies)
    assert all(copy and len(copy) < 3 * len(text) for copy in copies)


def test_long_rows_are_not_disguised():
    text = "kill " * 100
    assert disguised(text, random.Random(1)) == text
