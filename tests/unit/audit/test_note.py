"""Signed notes: the examples of the specification and of its first implementation, and what must be refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, opened, signed
from audit.note import Ed25519Signer, NoteError, PublicKey, open_note, sign

SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
PETER = PublicKey.parse(PUBLIC)
OTHER = Ed25519Signer("other.example/log", b"o" * 32)


def test_the_published_examples_are_signed_and_opened_byte_for_byte():
    signer = Ed25519Signer.parse(SECRET)
    assert (signer.secret(), str(signer.public)) == (SECRET, PUBLIC)
    assert sign(TEXT, [signer]) == f"{TEXT}\n{LINE}"
    note = open_note(f"{TEXT}\n{LINE}", [PETER])
    assert (note.text, note.signed_by) == (TEXT, (PETER,))
    assert open_note(SPEC_NOTE, [PublicKey.parse(SPEC_KEY)]).text == "This is an example message.\n"


def test_signatures_of_others_are_ignored_and_those_of_known_keys_must_be_right():
    both = sign(TEXT, [OTHER, Ed25519Signer.parse(SECRET)])
    assert open_note(both, [PETER]).signed_by == (PETER,)
    assert open_note(both, [PETER, OTHER.public]).signed_by == (OTHER.public, PETER)
    with pytest.raises(NoteError, match="known key"):
        open_note(both, [])
    namesake = PublicKey("PeterNeumann", OTHER.public.raw)
    with pytest.raises(NoteError, match="known key"):
        open_note(f"{TEXT}\n{LINE}", [namesake])
    with pytest.raises(NoteError, match="wrong"):
        open_note(both.replace("answer", "ANSWER"), [PETER, OTHER.public])
    with pytest.raises(NoteError, match="wrong"):
        open_note(f"{TEXT}\n{LINE}{LINE}", [PETER])


@pytest.mark.parametrize(
    "note",
    [
        *("", "\n", TEXT, f"{TEXT}\n", f"{TEXT}{LINE}", f"{TEXT}\n{LINE[:-1]}", f"{TEXT}\n{LINE}\n", f"\n{LINE}"),
        *(
            f"{TEXT}\n{LINE}x",
            f"{TEXT}\x00\n{LINE}",
            f"{TEXT}\t\n\n{LINE}",
            f"{TEXT}\r\n{LINE}",
            f"\ud800{TEXT}\n{LINE}",
        ),
        *(f"{TEXT}\n- {LINE[2:]}", f"{TEXT}\n{LINE.replace('=', '')}", f"{TEXT}\n— Peter Neumann x08go/ZJ\n"),
        *(f"{TEXT}\n— PeterNeumann AAAA\n", f"{TEXT}\n— PeterNeumann \n", f"{TEXT}\n— \n", f"{TEXT}\n{LINE * 65}"),
        f"{TEXT}\n{LINE.replace('nAM=', 'nAN=')}",  # other bits after the last whole byte
        "x" * 1_000_001,
    ],
)
def test_what_is_no_note_is_refused(note):
    with pytest.raises(NoteError):
        open_note(note, [PETER])


@given(st.integers(0, len(f"{TEXT}\n{LINE}".encode()) * 8 - 1))
def test_every_flipped_bit_is_seen(bit):
    data = bytearray(f"{TEXT}\n{LINE}".encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((NoteError, UnicodeDecodeError)):
        open_note(data.decode(), [PETER])


@pytest.mark.parametrize(
    "key",
    [
        *("", "a+b", "PeterNeumann+c74f20a3", PUBLIC.replace("c74f", "c74e"), PUBLIC.replace("Peter", "Petra")),
        *(PUBLIC[:-1], PUBLIC[:-4], f" {PUBLIC}".replace(" P", "P P"), PUBLIC.replace("ARpc", "Ahpc")),
    ],
)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(NoteError):
        PublicKey.parse(key)
    with pytest.raises(NoteError):
        Ed25519Signer.parse(f"PRIVATE+KEY+{key}")


def test_a_secret_is_not_quoted():
    for wrong in (SECRET.replace("c74f", "c74e"), SECRET[:-4], SECRET.replace("PRIVATE", "SECRET")):
        with pytest.raises(NoteError) as error:
            Ed25519Signer.parse(wrong)
        assert "AYEKFALV" not in str(error.value)
    assert "AYEKFALV" not in repr(Ed25519Signer.parse(SECRET))
    for text in ("", "\n", "no newline", "bell\x07\n"):
        with pytest.raises(NoteError):
            sign(text, [OTHER])
    with pytest.raises(NoteError):
        sign(TEXT, [])
    for name in ("", "a b", "a+b", "a\u3000b", "a\n"):
        with pytest.raises(NoteError):
            Ed25519Signer(name, b"s" * 32)


def test_a_checkpoint_says_origin_size_and_root():
    made = Checkpoint(
        "example.com/behind-the-sofa", 20852163, base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    )
    assert made.text() == "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    assert Checkpoint.parse(made.text()) == made
    assert Checkpoint.parse(made.text() + "an extension\n") == made
    note = signed(made, [OTHER])
    assert opened(note, made.origin, [OTHER.public]) == made
    with pytest.raises(NoteError, match=r"not of example\.com/other"):
        opened(note, "example.com/other", [OTHER.public])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a\n",
            "a\n1\n",
            "a\n1\nAAAA\n",
            "a\n01\n{h}\n",
            "a\n-1\n{h}\n",
            "a\n1 \n{h}\n",
            "a\n\n{h}\n",
            "\n1\n{h}\n",
        ),
        *(
            "a\n1\n{h}",
            "a\n1\n{h}\n\n",
            "a\n1\n{h}\n\nx\n",
            "a\n١\n{h}\n",
            "a\n99999999999999999999\n{h}\n",
            "a\n1\n{h} \n",
        ),
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(NoteError):
        Checkpoint.parse(text.format(h=base64.b64encode(b"h" * 32).decode()))
