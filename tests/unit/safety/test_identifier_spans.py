"""Identifiers and secrets are cut exactly: all of them, and nothing beside them."""

import dataclasses
import re
import time

import pytest

from safety.normalise import normalise
from tests.unit.safety.hostile import BY_NAME, hits

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
        (f"exp 12/2027 {CARD}", "personal_data.bank_card", CARD),
        (f"PIN 5678 {CARD.replace(' ', '-')}", "personal_data.bank_card", CARD.replace(" ", "-")),
        (f"2025 {CARD.replace(' ', '.')}", "personal_data.bank_card", CARD.replace(" ", ".")),
        ("有效期 2027 6222 0212 3456 7890 128", "personal_data.bank_card", "6222 0212 3456 7890 128"),
        ("6222 0212 3456 7890 128 12/27", "personal_data.bank_card", "6222 0212 3456 7890 128"),
        (f"{CARD}² see note", "personal_data.bank_card", CARD),
        ("ID11010519491231002X", "personal_data.cn_resident_id", "11010519491231002X"),
        ("①11010519491231002X", "personal_data.cn_resident_id", "11010519491231002X"),
        ("11010519491231002X¹", "personal_data.cn_resident_id", "11010519491231002X"),
        ("张三_11010519491231002X_1.pdf", "personal_data.cn_resident_id", "11010519491231002X"),
        ("℡13800138000", "personal_data.cn_mobile", "13800138000"),
        ("电话+86 138 0013 8000", "personal_data.cn_mobile", "+86 138 0013 8000"),
        ("x+8613800138000", "personal_data.cn_mobile", "+8613800138000"),
        ("身份证 1101 0519 4912 3100 2X 谢谢", "personal_data.cn_resident_id", "1101 0519 4912 3100 2X"),
        (
            "身份证1 1 0 1 0 5 1 9 4 9 1 2 3 1 0 0 2 X",
            "personal_data.cn_resident_id",
            "1 1 0 1 0 5 1 9 4 9 1 2 3 1 0 0 2 X",
        ),
        ("卡号：4111–1111–1111–1111–123", "personal_data.bank_card", "4111–1111–1111–1111"),
        (
            "卡号：6 2 2 2 0 2 1 2 3 4 5 6 7 8 9 0 1 2 8 。",
            "personal_data.bank_card",
            "6 2 2 2 0 2 1 2 3 4 5 6 7 8 9 0 1 2 8",
        ),
        ("请打 0086 138–0013–8000 找我", "personal_data.cn_mobile", "0086 138–0013–8000"),
        ("姓名/电话：张三/13800138000", "personal_data.cn_mobile", "13800138000"),
        ("张三/li.wei@firma.cn/男", "personal_data.email", "li.wei@firma.cn"),
        ("4①11 1111 1111 1111", "personal_data.bank_card", "4①11 1111 1111 1111"),
        (f"access_token={TOKEN}", "secret.assigned", TOKEN),
        (f"?access_token={TOKEN}&next=%2Fhome", "secret.assigned", TOKEN),
        (f"access_token=ya29.{TOKEN} ok", "secret.assigned", f"ya29.{TOKEN}"),
        ("账号admin密码zK7#qp9X请帮我登录", "secret.assigned", "zK7#qp9X"),
        ("密码（zK7#qp9X），谢谢", "secret.assigned", "zK7#qp9X"),
        ("<db.password>zK7#qp9X</db.password>", "secret.assigned", "zK7#qp9X"),
        ("setx API_KEY 9f8e7d6c5b4a39281706f5e4d3c2b1a0", "secret.assigned", "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
        ("mongodb://u:Ab9@cd8x@host/db", "secret.connection_string", "Ab9@cd8x"),
        (f"https://a.cn/c?sv=2&sig={TOKEN[:48]}%3D&se=1", "secret.signed_address", f"{TOKEN[:48]}%3D"),
    ],
)
def test_what_stands_beside_an_identifier_neither_hides_nor_joins_it(text, rule, cut):
    assert [text[f.start : f.end] for f in hits(text) if f.rule == rule] == [cut]


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("请打1380013800①", ["1380013800①"]),
        ("手机号 1380013800¹，谢谢", ["1380013800¹"]),
        ("请打①3800138000", ["①3800138000"]),
        ("①380013800①，138001380①②", ["①380013800①", "138001380①②"]),
        ("1380013800①，②13900139000", ["1380013800①", "13900139000"]),
        ("手机\u200b1380013800①备用", ["1380013800①"]),
        ("411111111111111①", ["411111111111111①"]),
        ("My card is 4111 1111 1111 111¹ 12/27", ["4111 1111 1111 111¹"]),
        ("4111 111① ①111 1111", ["4111 111① ①111 1111"]),
        ("①1010519491231002X¹", ["①1010519491231002X"]),
        ("FR1420041010⓪50500013M02606", ["FR1420041010⓪50500013M02606"]),
    ],
)
def test_a_sign_at_the_end_of_a_number_is_a_digit_of_it_where_the_number_is_one_only_then(text, cuts):
    assert [text[f.start : f.end] for f in hits(text, "personal_data", "secrets")] == cuts


@pytest.mark.parametrize(
    "text",
    [
        "①13800138000②13900139000③",
        "13800138000¹",
        "¹13800138000",
        f"{CARD}①",
        "护照E12345678¹",
        "①11010519491231002X¹",
    ],
)
def test_a_sign_beside_a_number_that_is_whole_without_it_is_not_cut(text):
    plain = re.sub("[①②③¹]", " ", text)
    found = [text[f.start : f.end] for f in hits(text, "personal_data", "secrets")]
    assert found == [plain[f.start : f.end] for f in hits(plain, "personal_data", "secrets")] != []


@pytest.mark.parametrize(
    "text",
    [
        "时间戳 170000000①",
        "订单号：1380013800①",
        "411111111111111②",
        "营收 138 亿元①，2025 年 12 月²",
        "10¹³ m², 3800138000³",
        "1380013800⑩",
    ],
)
def test_a_number_that_is_none_with_its_sign_either_is_no_finding(text):
    assert hits(text, "personal_data", "secrets") == []


@pytest.mark.parametrize("unit", ["①13800138000", "1380013800①", "①380013800① ", "①1 ", "411111111111111① "])
def test_signs_cost_time_that_grows_with_the_text(unit):
    def seconds(size):
        text, best = normalise(unit * (size // len(unit))), 1e9
        for _ in range(3):
            read = dataclasses.replace(text)  # nothing is kept from the last time
            began = time.thread_time()
            BY_NAME["personal_data"].look(read)
            best = min(best, time.thread_time() - began)
        return best

    seconds(1000)
    assert seconds(400_000) < 8 * seconds(100_000) + 0.1


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


@pytest.mark.parametrize(
    ("text", "rule", "cuts"),
    [
        ("138001380\u200b00/13900139000", "personal_data.cn_mobile", ["138001380\u200b00", "13900139000"]),
        (f"{WIDE_CARD}/6222021234567890128", "personal_data.bank_card", [WIDE_CARD, "6222021234567890128"]),
        ("姓名,护照号\n张三,E12345678\n李四,EA1234567", "personal_data.passport_listed", ["E12345678", "EA1234567"]),
        (
            "姓名,护照号,备注\n张三,E12345678,护照已核\n李四,E87654321,无\n护照科备注\n王五,E87654322,护照未核\n",
            "personal_data.passport_listed",
            ["E12345678", "E87654321", "E87654322"],
        ),
        (
            "name,passport no,remark\nAnn,E12345678,passport checked\nBob,E87654321,-\n",
            "personal_data.passport_listed",
            ["E12345678", "E87654321"],
        ),
        ("姓名,护照号,料号\n张三,E12345678,E12345679,护照已核\n", "personal_data.passport_listed", []),
        ("姓名,护照号,料号\n张三,无,护照已核\n李四,无,E12345679\n", "personal_data.passport_listed", []),
    ],
)
def test_each_of_several_identifiers_is_cut(text, rule, cuts):
    assert [text[f.start : f.end] for f in hits(text) if f.rule == rule] == cuts


PEOPLE = "name,ssn\n" + "".join(f"Ann Example {n},536-22-{8726 + n}\n" for n in range(30))


def test_a_number_that_parts_share_is_one_of_a_person_under_the_head_of_its_column_alone():
    found = [f for f in hits(PEOPLE) if f.rule == "personal_data.us_ssn"]
    assert len(found) == 30
    assert [f for f in hits(PEOPLE.replace("ssn", "drawing")) if f.rule == "personal_data.us_ssn"] == []


ORDERS = "订单号,姓名,电话\n" + "".join(f"1380013800{n},张三,1390013900{n}\n" for n in range(10))


def test_in_a_table_of_orders_the_phone_numbers_are_found_and_the_orders_are_none():
    found = [ORDERS[f.start : f.end] for f in hits(ORDERS) if f.rule == "personal_data.cn_mobile"]
    assert found == [f"1390013900{n}" for n in range(10)]


@pytest.mark.parametrize("sign", "!@#$%^&*()-_=+[]{}\\:;,.<>/?~`'")
def test_a_password_between_quotation_marks_is_cut_whole_whatever_sign_is_in_it(sign):
    password = f"rW4{sign}mB7xQz9Lk"
    text = f'DB_PASSWORD="{password}"'
    assert any(text[f.start : f.end] == password for f in hits(text, "secrets"))


TERMS = [
    "ISO-9001:2015", "HTTP/1.1", "GB/T39786-2021", "Windows11/Office2021", "SAP-R3/ERP-2024", "AES-256/RSA-2048",
    "MU5137/PVG-HND", "v2.0-Beta1", "Ed448PublicKey", "1:4.13+dfsg1-1", "Qwen2.5-7B", "X-Api-Version2",
]  # fmt: skip
LITTLE = ["password {}", "token, {}", "密码{}", "密码 {} 是什么", "we pass {}", "our pass: {}", "the password to {}"]


@pytest.mark.parametrize("text", [before.format(term) for before in LITTLE for term in TERMS])
def test_a_term_behind_a_name_is_no_secret_where_nothing_says_that_a_value_follows(text):
    assert hits(text, "secrets") == []


MEANT = ["password {}", "token, {}", "密码{}", "密码 {}，谢谢", "wifi pass: {}", "| 密码 | {} |"]


@pytest.mark.parametrize("before", MEANT)
def test_what_nothing_but_a_password_looks_like_is_one_there_as_well(before):
    text = before.format("zK7#qp9X")
    assert [text[f.start : f.end] for f in hits(text, "secrets")] == ["zK7#qp9X"]
