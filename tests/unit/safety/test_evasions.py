"""A disguise changes no verdict: the table of evasions against the whole pipeline; ordinary text keeps its meaning."""

import json
import re
from pathlib import Path

import msgspec
import pytest

import safety
from safety.classifier.guard import HarmClassifier
from safety.normalise import normalise
from safety.normalising.tables import tables
from safety.parts import filters, recommended
from safety.pipeline import Pipeline
from safety.policy import DEFAULT_POLICY, complete, load_policy
from safety.policy_shape import CategoryRule, WordList
from safety.verdict import Action, Category
from tests.unit.safety.evasions import COMPANY, rows
from tests.unit.safety.guards import INPUT

LEAST_SAME = 0.99
MOST_CHANGED = 0.001
SEEDS = Path(safety.__path__[0]) / "training" / "seeds"
HAN_SPACES = re.compile(r"(?<=[\u4e00-\u9fff])[ |]+(?=[\u4e00-\u9fff])")
ORDINARY = (Path(__file__).parent / "ordinary.txt").read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def pipeline():
    classifier = HarmClassifier()
    policy = complete(load_policy(DEFAULT_POLICY), recommended(classifier.manifest))
    words = {name: WordList(words=listed) for name, listed in COMPANY.items()}
    rules = {**policy.categories, Category.COMPANY: CategoryRule(input=Action.BLOCK, output=Action.BLOCK)}
    policy = msgspec.structs.replace(policy, company=words, categories=rules)
    return Pipeline((*filters(policy), classifier), policy, guard_timeout_s=20)


def test_the_table_is_large_and_in_both_languages():
    table = list(rows())
    assert len(table) >= 150
    assert sum(any("\u4e00" <= c <= "\u9fff" for c in plain) for _, plain, _ in table) >= 75


async def test_disguised_texts_get_the_verdict_of_the_plain_text(pipeline):
    table = list(rows())
    plain = {text: (await pipeline.examine(text, INPUT)).action for text in {text for _, text, _ in table}}
    assert all(action is not Action.ALLOW for action in plain.values()), plain
    missed = [
        (name, text, action.value)
        for name, text, disguised in table
        if (action := (await pipeline.examine(disguised, INPUT)).action) is not plain[text]
    ]
    assert 1 - len(missed) / len(table) >= LEAST_SAME, missed
    await pipeline.close()


def _ordinary_texts():
    for file in sorted(SEEDS.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            if not row["labels"]:
                yield row["text"]
    yield from ORDINARY


def _changed_in_meaning(text):
    """Whether guards read other words than people: more than other forms, and Chinese characters without spaces."""
    read = normalise(text)
    if not set(read.changes) & {"emphasis", "joined", "lookalikes", "marks"}:
        return False
    ours, theirs = (HAN_SPACES.sub("", part) for part in (read.text, text.translate(tables().translation)))
    return ours != theirs


def test_ordinary_text_keeps_its_meaning():
    texts = list(_ordinary_texts())
    changed = [text for text in texts if _changed_in_meaning(text)]
    assert len(texts) >= 1000
    assert len(changed) <= MOST_CHANGED * len(texts), changed
    assert [text for text in ORDINARY if normalise(text).segments] == []
