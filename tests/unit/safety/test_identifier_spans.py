"""Identifiers and secrets are cut exactly: all of them, and nothing beside them."""

import pytest

from tests.unit.safety.hostile import hits

WIDE_CARD = "６２２２０２１２３４５６７８９０１２８"


@pytest.mark.parametrize(
    ("text", "rule", "cut"),
    [
        (
            "卡号 ６２２２０２１２３４５６７８９０１２８ 谢谢",
            "personal_data.bank_card",
            "６２２２０２１２３４５６７８９０１２８",
        ),
        ("my id is 1101\u200b0519491231002X.", "personal_data.cn_resident_id", "1101\u200b0519491231002X"),
        ("pay to DE89 3704 0044 0532 0130 00 ASAP NOW", "personal_data.iban", "DE89 3704 0044 0532 0130 00"),
        ("db: mysql://app:Zx9qLm2Wv@db.firma.cn/x", "secret.connection_string", "Zx9qLm2Wv"),
        ("mail li.wei@firma.cn.", "personal_data.email", "li.wei@firma.cn"),
    ],
)
def test_the_span_is_exactly_the_identifier_as_typed(text, rule, cut):
    found = next(f for f in hits(text) if f.rule == rule)
    assert text[found.start : found.end] == cut


CARD = "4111 1111 1111 1111"


PEM = "MIIEowIBAAKCAQEAxx1234567890abcdefghkT9xQz7LmW2vRb4NcYp8DfGh1JsX"


TOKEN = "aB3dE5fG7hJ9" * 20


@pytest.mark.parametrize(
    ("text", "rule", "cut"),
    [
        (f"My card is {CARD} 12/27 123", "personal_data.bank_card", CARD),
        (f"{CARD}, 12/27", "personal_data.bank_card", CARD),
        (f"{CARD}-123", "personal_data.bank_card", CARD),
        ("6222 0212 3456 7890 128 12/27", "personal_data.bank_card", "6222 0212 3456 7890 128"),
        (f"{CARD}² see note", "personal_data.bank_card", CARD),
        ("ID11010519491231002X", "personal_data.cn_resident_id", "11010519491231002X"),
        ("①11010519491231002X", "personal_data.cn_resident_id", "11010519491231002X"),
        ("11010519491231002X¹", "personal_data.cn_resident_id", "11010519491231002X"),
        ("张三_11010519491231002X_1.pdf", "personal_data.cn_resident_id", "11010519491231002X"),
        ("℡13800138000", "personal_data.cn_mobile", "13800138000"),
        ("电话+86 138 0013 8000", "personal_data.cn_mobile", "+86 138 0013 8000"),
        ("x+8613800138000", "personal_data.cn_mobile", "+8613800138000"),
        ("4①11 1111 1111 1111", "personal_data.bank_card", "4①11 1111 1111 1111"),
        (f"access_token={TOKEN}", "secret.assigned", TOKEN),
        (f"?access_token={TOKEN}&next=%2Fhome", "secret.assigned", TOKEN),
        (f"access_token=ya29.{TOKEN} ok", "secret.assigned", f"ya29.{TOKEN}"),
    ],
)
def test_what_stands_beside_an_identifier_neither_hides_nor_joins_it(text, rule, cut):
    assert [text[f.start : f.end] for f in hits(text) if f.rule == rule] == [cut]


def _key(name="RSA PRIVATE KEY", headers="", mark="", end=True):
    first, last = (f"-----{word} {name}-----" for word in ("BEGIN", "END"))
    lines = [first, *headers.splitlines(), *[PEM] * 40, "xyz9AB==", *([last] if end else [])]
    return f"\n{mark}".join(lines)


@pytest.mark.parametrize(
    "key",
    [
        _key(),
        _key(end=False),
        _key("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2.0.22 (GNU/Linux)\nComment: a (b) - c\n\n"),
        _key("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2.0.22 (GNU/Linux)\n\n", end=False),
        _key(headers="Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,4F1A99B0C3D24F1A99B0C3D2\n\n"),
        _key(headers="Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,4F1A99B0C3D24F1A99B0C3D2\n\n", end=False),
        _key(headers="Comment: ------- mine -------"),
        _key(mark="> "),
        _key(mark="> > ", end=False),
        _key().replace("\n", "\\n"),
    ],
)
def test_a_private_key_is_cut_from_its_first_line_to_its_last(key):
    text = f"> please see {key}\n\nIs this key still good?"
    (found,) = hits(text, "secrets")
    assert text[found.start : found.end] == key


def test_what_is_said_about_the_first_line_of_a_key_stays_and_a_second_key_is_found():
    first = "-----BEGIN\u0020PRIVATE KEY-----"
    text = f"nginx says 'expecting {first}', what is missing in the file? {_key(end=False)}\nThanks"
    assert [text[f.start : f.end] for f in hits(text, "secrets")] == [first, _key(end=False)]
