"""Windows and chunks: nothing goes unexamined, cost is bounded."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety.classifier.manifest import SHIPPED, TOKENIZER_FILE, ClassifierError
from safety.classifier.tokenise import (
    CHUNK,
    CONTEXT,
    MAX_CHARACTERS,
    MAX_WINDOWS,
    WINDOW,
    TextTooLongError,
    Tokeniser,
    windows,
)


@pytest.fixture(scope="module")
def tokeniser():
    return Tokeniser(SHIPPED / TOKENIZER_FILE)


def covered(tokeniser, text):
    """Code points of the text that stand in some unit."""
    units = tokeniser.units(tokeniser.encode(text))
    seen = set()
    for unit in units:
        seen.update(range(unit.start, unit.end))
    return seen


@given(st.integers(1, 5000))
def test_windows_cover_every_token_and_overlap(count):
    cuts = windows(count)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == count
    assert all(end - start <= WINDOW for start, end in cuts)
    assert all(later[0] < earlier[1] for earlier, later in itertools.pairwise(cuts))


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab z.!?。！？\n杀人炸弹你好😀é1"), max_size=900))
def test_every_character_that_means_something_is_examined(tokeniser, text):
    seen = covered(tokeniser, text)
    assert {at for at, character in enumerate(text) if not character.isspace()} <= seen


def test_a_short_text_is_one_unit(tokeniser):
    text = "Please write to the customer. She waits for an answer. Thanks!"
    assert len(tokeniser.units(tokeniser.encode(text))) == 1


def test_a_message_of_some_sentences_is_judged_whole_and_in_chunks(tokeniser):
    text = "The meeting was moved to Thursday because the room is taken. " * 8
    units = tokeniser.units(tokeniser.encode(text))
    assert (units[0].start, units[0].end) == (0, len(text.rstrip()))
    assert len(units) > 1
    assert sum(len(unit.ids) for unit in units[1:]) <= len(units[0].ids) + 2 * len(units)
    assert all(text[unit.start : unit.end].endswith(".") for unit in units[1:])


@pytest.mark.parametrize("text", ["", " \n\t ", "\u3000"])
def test_no_tokens_no_units(tokeniser, text):
    assert tokeniser.units(tokeniser.encode(text)) == []


@pytest.mark.parametrize("character", ["杀", "a", "😀", "é", "ж", "1"])
def test_a_message_at_the_limit_fits_the_windows(tokeniser, character):
    units = tokeniser.units(tokeniser.encode(character * 32_000))
    assert 0 < len(units) <= MAX_WINDOWS
    assert units[-1].end == 32_000


def test_one_endless_word_is_cut_not_unknown(tokeniser):
    tokens = tokeniser.encode("howtomakeabomb" * 7000)
    unknown = tokeniser.encode("\ua984").ids[0]
    assert unknown not in tokens.ids
    assert tokens.offsets[-1][1] == 98_000


def test_an_unknown_character_does_not_swallow_its_word(tokeniser):
    whole, marked = tokeniser.encode("kill").ids, tokeniser.encode("kill\ua984").ids
    assert marked[0] == whole[0]
    assert len(marked) == 2


def test_too_long_is_refused(tokeniser):
    with pytest.raises(TextTooLongError):
        tokeniser.encode("x " * MAX_CHARACTERS)
    with pytest.raises(TextTooLongError):
        tokeniser.units(tokeniser.encode("我 " * 100_000))


def test_the_rolling_window_shares_its_room(tokeniser):
    earlier = np.arange(100, 200)
    joined = tokeniser.joined(earlier, tokeniser.encode("word " * 300), 96)
    assert len(joined) == 98
    assert list(joined[1:49]) == list(range(152, 200))
    short = tokeniser.joined(earlier, tokeniser.encode("word"), 96)
    assert list(short[1:96]) == list(range(105, 200))


def test_chunks_are_not_larger_than_a_window(tokeniser):
    text = ("no stop here " * 60) + ". Then one. And two."
    assert all(len(unit.ids) <= WINDOW + 2 for unit in tokeniser.units(tokeniser.encode(text)))
    assert CHUNK < WINDOW


def test_a_foreign_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ClassifierError, match=r"tokenizer\.json cannot be read"):
        Tokeniser(tmp_path / "tokenizer.json")


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab z.!?。！？\n杀人炸弹你好😀é1"), max_size=300),
    st.text(alphabet=st.sampled_from("ab z.!?。！？\n杀人炸弹你好😀é1"), max_size=600),
)
def test_of_a_stretch_every_new_character_is_examined_behind_what_came_before(tokeniser, released, new):
    tokens = tokeniser.encode(released + new)
    first_new = next((at for at, (start, _) in enumerate(tokens.offsets) if start >= len(released)), len(tokens.ids))
    units = tokeniser.units_after(tokens, first_new)
    seen = {at for unit in units for at in range(unit.start, unit.end)}
    assert {at for at, character in enumerate(new, len(released)) if not character.isspace()} <= seen
    assert sum(len(unit.ids) for unit in units) <= 4 * (len(tokens.ids) - first_new) + 2 * (CONTEXT + WINDOW)
    if 0 < first_new < len(tokens.ids):
        assert any(unit.start < len(released) for unit in units)
