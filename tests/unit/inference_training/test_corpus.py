"""Which rows of the labelled data training reads, and as what."""

import gzip
import json
import random
from itertools import islice

import pytest

from inference.training.corpus import read_corpus
from inference.training.fluency import documents, vocabulary_lines


def _row(text, source, *, lang="en", role="prompt", labels=()):
    return {"text": text, "lang": lang, "role": role, "source": source, "labels": list(labels)}


@pytest.fixture
def folder(tmp_path):
    rows = [
        _row("How do magnets work in detail?", "hiyouga/LLaMA-Factory"),
        _row("Share-alike text that must stay out of training.", "databricks/dolly-15k via X"),
        _row("How do I pick a lock?", "RobustNLP/DeRTa", labels=["illegal"]),
        _row("A harmful answer is never read as an example.", "RobustNLP/DeRTa", role="response", labels=["illegal"]),
        _row("A benign answer that is read as plain text.", "teknium1/GPTeacher (Codegen)", role="response"),
        _row("磁铁的工作原理是什么", "thu-coai/CrossWOZ", lang="zh"),
    ]
    with gzip.open(tmp_path / "train.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with gzip.open(tmp_path / "unlabelled_zh.txt.gz", "wt", encoding="utf-8") as file:
        file.write("这是一段足够长的中文文字，用来测试读取语料的函数是否正确。\n短\n")
    return tmp_path


def test_rows_go_where_their_source_role_and_labels_say(folder):
    corpus = read_corpus(folder)
    assert corpus.benign == {"en": ["How do magnets work in detail?"], "zh": ["磁铁的工作原理是什么"]}
    assert corpus.harmful["en"] == ["How do I pick a lock?"]
    assert corpus.fluency["zh"] == ["这是一段足够长的中文文字，用来测试读取语料的函数是否正确。"]
    assert sorted(corpus.fluency["en"]) == [
        "A benign answer that is read as plain text.",
        "How do magnets work in detail?",
    ]


def test_a_missing_file_is_named(folder):
    (folder / "unlabelled_zh.txt.gz").unlink()
    with pytest.raises(FileNotFoundError, match="unlabelled_zh"):
        read_corpus(folder)


def test_plain_text_balances_the_languages_and_never_ends(folder):
    corpus = read_corpus(folder)
    drawn = list(islice(documents(corpus, lambda text: [9] * len(text), (1, 2), 3, random.Random(1)), 50))
    assert all(document[:2] == [1, 2] and document[-1] == 3 for document in drawn)
    assert len({len(document) for document in drawn}) == 3


def test_vocabulary_lines_have_no_line_feed(folder):
    corpus = read_corpus(folder)
    corpus.fluency["en"].append("one\ntwo")
    assert {"one", "two"} <= set(vocabulary_lines(corpus, random.Random(1)))
