"""Words at which an answer is stopped: however a tokenizer cuts them, in both languages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import forbidden
from inference.chatglm3.tokenizer import Tokenizer
from inference.errors import RequestRefusedError
from inference.forbidden import Automaton, Lexicons, Walk, digest
from inference.ports import ForbiddenWords

LISTS = (
    ForbiddenWords("company.projects", ("Project Nightingale", "夜莺计划", "fox")),
    ForbiddenWords("company.other", ("计划", "ＡＢＣ", "straße")),
)


def walk_of(tokenizer: Tokenizer | None = None, lists=LISTS) -> Walk:
    piece = tokenizer.piece if tokenizer else lambda index: bytes([index])
    return Walk(Automaton(lists, piece))


def said(walk: Walk, pieces) -> str:
    """Return the rule that stops an answer made of these pieces."""
    for piece in pieces:
        if rule := walk.text(piece) if isinstance(piece, str) else walk.token(piece):
            return rule
    return walk.end()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("About Project Nightingale.", "company.projects"),
        ("about project\n  NIGHTINGALE, then", "company.projects"),
        ("project nightingale", "company.projects"),
        ("project nightingales", ""),
        ("subproject nightingale", ""),
        ("project-nightingale", ""),
        ("A fox.", "company.projects"),
        ("foxes, firefox, fox1", ""),
        ("一个夜莺计划的故事", "company.projects"),
        ("新计划书", "company.other"),
        ("夜莺", ""),
        ("a abc b", "company.other"),
        ("ＡＢＣ", "company.other"),
        ("die STRASSE!", "company.other"),
        ("zero\u200bwidth f\u200box", "company.projects"),
        ("最新fox报告", "company.projects"),
        ("", ""),
    ],
)
def test_words_in_text(text, rule):
    assert said(walk_of(), [text]) == rule
    assert said(walk_of(), list(text)) == rule


@given(
    st.lists(st.sampled_from(["fox", " ", "夜莺", "计划", "a", "project ", "nightingale", ".", "F", "ox"]), max_size=12)
)
@settings(max_examples=300)
def test_it_makes_no_difference_where_the_answer_is_cut(parts):
    whole = said(walk_of(), ["".join(parts)])
    assert bool(said(walk_of(), parts)) == bool(whole)


@given(st.text(alphabet="fox FOX夜莺计划项é.\u3000", max_size=30))
@settings(max_examples=200, deadline=None)
def test_tokens_find_what_the_text_holds(tiny_checkpoint, text):
    """Real tokens, with bytes for characters that the vocabulary does not have."""
    tokenizer = tiny_checkpoint.tokenizer
    ids = tokenizer.encode(text)
    assert bool(said(walk_of(tokenizer), ids)) == bool(said(walk_of(), [tokenizer.decode(ids)]))


@pytest.mark.parametrize(
    ("text", "rule"), [("foxé", ""), ("éfox", ""), ("fox é", "company.projects"), ("fox—", "company.projects")]
)
def test_a_letter_that_comes_byte_by_byte_continues_a_word(tiny_checkpoint, text, rule):
    tokenizer = tiny_checkpoint.tokenizer
    assert said(walk_of(tokenizer), tokenizer.encode(text)) == rule
    assert said(walk_of(), text.encode()) == rule


def test_an_answer_cut_off_within_a_letter_ends_with_the_word():
    assert said(walk_of(), b"a fox\xc3") == "company.projects"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("fox", "the ＦＯＸ."),
        ("Müller", "HERR MÜLLER"),
        ("Проект", "это ПРОЕКТ"),
        ("Project  Nightingale", "the project \u3000\tnightingale"),
        ("夜莺　　计划", "夜莺 计划"),
        (" \u200bfox ", "a fox"),
    ],
)
def test_case_width_and_blanks_make_no_difference_however_characters_come(tiny_checkpoint, word, text):
    lists, tokenizer = (ForbiddenWords("r", (word,)),), tiny_checkpoint.tokenizer
    assert said(walk_of(None, lists), [text]) == "r"
    assert said(walk_of(None, lists), text.encode()) == "r"
    assert said(walk_of(tokenizer, lists), tokenizer.encode(text)) == "r"


@pytest.mark.parametrize("before", [b"\xff", b"\xc3", b"\xe4\xbd", b"\xf0\x9f\x98"])
def test_bytes_that_are_no_text_hide_nothing(before):
    assert said(walk_of(), before + b"FOX.") == "company.projects"
    assert said(walk_of(), b"FOX" + before + b".") == "company.projects"
    assert said(walk_of(), b"x" + before + b"FOX" + before + b"x") == "company.projects", "this is no letter"


def test_a_word_in_bytes_is_found(tiny_checkpoint):
    tokenizer = tiny_checkpoint.tokenizer
    ids = tokenizer.encode("鑫")
    assert len(ids) > 2, "it is not in the vocabulary"
    assert said(walk_of(tokenizer, (ForbiddenWords("r", ("鑫",)),)), ids) == "r"


def test_a_word_that_goes_through_another_is_found():
    lists = (ForbiddenWords("r", ("她说他们", "说他", "abcab")),)
    assert said(walk_of(None, lists), ["她说他"]) == "r"
    assert said(walk_of(None, lists), ["xx abcab"]) == "r"


def test_words_have_an_identity():
    assert digest(LISTS) == digest(tuple(LISTS)) != digest(LISTS[:1])
    assert digest(()) == ""
    kept = Lexicons()
    assert kept.walk(()) is None
    assert kept.walk(LISTS).digest == digest(LISTS)


def test_ten_thousand_words_cost_little_for_each_token():
    lists = (ForbiddenWords("r", tuple(f"word number {at}" for at in range(10_000))),)
    walk = Lexicons(lambda index: b" word number "[: index + 1]).walk(lists)
    assert not any(walk.token(index) for index in [*range(12)] * 2000)


def test_words_that_are_too_long_together_are_refused(monkeypatch):
    monkeypatch.setattr(forbidden, "MOST_NODES", 1000)
    assert Lexicons().walk((ForbiddenWords("r", ("x" * 256, "y" * 256)),))
    # One character here becomes eighteen: characters of a request bound nothing.
    for words in (tuple(f"{at} {'x' * 200}" for at in range(10)), ("\ufdfa" * 100,)):
        with pytest.raises(RequestRefusedError) as caught:
            Lexicons().walk((ForbiddenWords("r", words),))
        assert caught.value.param == "forbidden"


def test_words_that_are_kept_have_a_bound_together(monkeypatch):
    monkeypatch.setattr(forbidden, "MOST_NODES", 1000)
    kept = Lexicons()
    lists = [(ForbiddenWords("r", (str(at) * 400,)),) for at in range(3)]
    for one in lists:
        assert kept.walk(one)
    assert list(kept._kept) == lists[1:]


def test_lone_surrogates_and_broken_bytes_are_taken():
    assert walk_of().text("\ud800 fox") == ""
    broken = Walk(Automaton(LISTS, lambda _: b"\xff\xfe"))
    assert broken.token(0) == ""
    assert broken.end() == ""
