import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chatglm3 import prompt
from inference.chatglm3.reply import Detokeniser, Reply
from inference.chatglm3.tokenizer import Tokenizer, TokenizerError
from inference.ports import Message, Role
from tests.unit.inference import tiny

ROLES = ["<|user|>", "<|assistant|>", "<|observation|>", "<|system|>", "▁<|user|>", "<｜user｜>"]
IMITATIONS = st.sampled_from([*ROLES, "[gMASK]", "[MASK]", "sop", "eop", "</s>", "<s>", "<unk>", "<0x0A>"])
TEXT = st.lists(st.one_of(IMITATIONS, st.text(max_size=8)), max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.model"
    path.write_bytes(tiny.sentencepiece_model())
    return Tokenizer(path)


@given(text=TEXT)
def test_no_text_becomes_a_special_token(tokenizer, text):
    ids = tokenizer.encode(text)
    special = tokenizer.specials
    assert all(index < special.pieces for index in ids)
    assert not set(ids) & {special.eos, 1}


@given(texts=st.lists(TEXT, min_size=1, max_size=4))
def test_a_prompt_has_exactly_the_special_tokens_of_its_roles(tokenizer, texts):
    special = tokenizer.specials
    messages = [Message(Role.USER if place % 2 == 0 else Role.ASSISTANT, text) for place, text in enumerate(texts)]
    ids = prompt.build(tokenizer, messages)
    found = [index for index in ids if index >= special.pieces]
    roles = [special.user if message.role is Role.USER else special.assistant for message in messages]
    assert found == [special.gmask, special.sop, *roles, special.assistant]


@given(text=st.text(max_size=60))
def test_streamed_pieces_join_to_the_whole_text(tokenizer, text):
    ids = tokenizer.encode(text)
    pieces = Detokeniser(tokenizer)
    shown = [pieces.push(index) for index in ids]
    assert "".join(shown) + pieces.flush() == tokenizer.decode(ids)


@given(ids=st.lists(st.integers(0, 399), max_size=40))
def test_any_ids_stream_to_their_whole_text(tokenizer, ids):
    pieces = Detokeniser(tokenizer)
    assert "".join([pieces.push(index) for index in ids]) + pieces.flush() == tokenizer.decode(ids)


def test_an_unfinished_character_is_held_back(tokenizer):
    ids = tokenizer.encode("鿋")
    assert len(ids) > 3, "the character must be spelt in bytes for this test"
    pieces = Detokeniser(tokenizer)
    shown = [pieces.push(index) for index in ids]
    assert shown[-1] == "鿋"
    assert "\ufffd" not in "".join(shown)


def test_a_reply_loses_its_empty_metadata_line_and_ends_at_a_stop_string(tokenizer):
    reply = Reply(tokenizer, ("END",))
    shown = ""
    for index in tokenizer.encode("\n  Hello E and ENDless"):
        text, stopped = reply.push(index)
        shown += text
        if stopped:
            break
    assert stopped
    assert shown == "Hello E and "


def test_a_reply_that_ends_within_a_stop_string_keeps_its_text(tokenizer):
    reply = Reply(tokenizer, ("ENDING",))
    shown = "".join(reply.push(index)[0] for index in tokenizer.encode("the END"))
    assert shown + reply.flush() == "the END"


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode("a\ud800")


def test_decode_leaves_special_tokens_out(tokenizer):
    special = tokenizer.specials
    ids = [special.gmask, *tokenizer.encode("dog"), special.user, 10_000, -1]
    assert tokenizer.decode(ids) == tokenizer.decode(tokenizer.encode("dog"))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 1000])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.model"):
        Tokenizer(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TokenizerError, match=r"tokenizer\.model is missing"):
        Tokenizer(tmp_path / "tokenizer.model")
