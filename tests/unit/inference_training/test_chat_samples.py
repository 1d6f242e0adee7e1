"""Training samples are written exactly as the server writes prompts, and only replies are learned."""

import random
from itertools import islice

import pytest

from inference.chatglm3 import prompt
from inference.chatglm3.tokenizer import Tokenizer
from inference.ports import Message, Role
from inference.training.batches import IGNORED
from inference.training.chat import LONGEST_SAMPLE, OPENING_LENGTH, Sampler, encode_dialogue, opening
from inference.training.corpus import Corpus
from inference.training.dialogues import read_dialogues
from inference.training.vocabulary import PIECES, train_vocabulary


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    dialogues = read_dialogues()
    texts = [text for record in dialogues.records for turn in record.turns for text in turn.questions + turn.answers]
    train_vocabulary((line for text in texts for line in text.splitlines()), path, pieces=3000)
    return Tokenizer(path)


def test_a_dialogue_is_the_servers_prompt_with_the_reply_after_it(tokenizer):
    sample = encode_dialogue(tokenizer, [("hi", "hello"), ("你好", "您好")], system="be kind")
    messages = [
        Message(role=Role.SYSTEM, content="be kind"),
        Message(role=Role.USER, content="hi"),
        Message(role=Role.ASSISTANT, content="hello"),
        Message(role=Role.USER, content="你好"),
    ]
    asked = prompt.build(tokenizer, messages)
    assert sample.ids[: len(asked)] == asked
    assert sample.ids[len(asked) :] == [*tokenizer.encode("\n"), *tokenizer.encode("您好"), tokenizer.specials.eos]


def test_only_replies_and_their_end_are_learned(tokenizer):
    sample = encode_dialogue(tokenizer, [("one", "two"), ("three", "four")])
    eos = tokenizer.specials.eos
    expected = [
        *tokenizer.encode("\n"), *tokenizer.encode("two"), eos,
        *tokenizer.encode("\n"), *tokenizer.encode("four"), eos,
    ]  # fmt: skip
    assert [label for label in sample.labels if label != IGNORED] == expected
    for token, label in zip(sample.ids, sample.labels, strict=True):
        assert label in {IGNORED, token} or (label == eos and token == tokenizer.specials.user)


def test_an_opening_keeps_the_question_and_the_first_tokens_of_the_reply(tokenizer):
    sample = encode_dialogue(tokenizer, [("why", "because it is so, and it has been so since the very first day")])
    cut = opening(sample, tokenizer.specials.assistant)
    assert cut.ids == sample.ids[: len(cut.ids)]
    assert sum(label != IGNORED for label in cut.labels) == OPENING_LENGTH
    assert tokenizer.specials.eos not in cut.labels
    short = encode_dialogue(tokenizer, [("why", "so")])
    assert opening(short, tokenizer.specials.assistant) == short


def test_text_stays_text_and_line_feeds_stay_bytes(tokenizer):
    sample = encode_dialogue(tokenizer, [("<|user|> [gMASK] </s>", "ok")])
    special = tokenizer.specials
    assert sample.ids.count(special.user) == 1
    assert sample.ids.count(special.gmask) == 1
    assert sample.ids.count(special.eos) == 1
    assert 13 in tokenizer.encode("\n")
    assert tokenizer.decode(tokenizer.encode("a\n\n燚")) == "a\n\n燚"


def test_samples_mix_both_languages_and_keep_their_bound(tokenizer):
    corpus = Corpus()
    for language, text in (("zh", "怎样证明勾股定理"), ("en", "prove the theorem of Pythagoras")):
        corpus.benign[language].append(text)
        corpus.harmful[language].append(text)
    sampler = Sampler(dialogues=read_dialogues(), corpus=corpus, tokenizer=tokenizer, rng=random.Random(1))
    drawn = list(islice(sampler.samples(), 400))
    texts = [tokenizer.decode(sample.ids) for sample in drawn]
    assert sum("演示模型" in text for text in texts) > 10
    assert sum("demo model" in text for text in texts) > 10
    assert max(len(sample.ids) for sample in drawn) < LONGEST_SAMPLE + 1000
    assert len({sample.ids.count(tokenizer.specials.user) for sample in drawn}) >= 4


def test_with_openings_only_every_sample_is_short(tokenizer):
    corpus = Corpus(benign={"zh": ["怎样"], "en": ["how"]}, harmful={"zh": ["坏"], "en": ["bad"]})
    sampler = Sampler(read_dialogues(), corpus, tokenizer, random.Random(1), opening_share=1.0)
    drawn = list(islice(sampler.samples(), 100))
    assert all(sample.ids.count(tokenizer.specials.user) == 1 for sample in drawn)
    assert all(sum(label != IGNORED for label in sample.labels) <= OPENING_LENGTH for sample in drawn)


def test_the_vocabulary_leaves_room_for_the_special_tokens():
    assert PIECES + 9 <= 8192
