"""Checks for numbers that identify people: check sums, dates, ranges. Each says how much of a candidate is one.

Sources: GB 11643-1999 (resident id), ISO/IEC 7812 (cards), ISO 13616 (IBAN), GB 32100-2015 (credit code), and the rules
of python-stdnum and phonenumbers.
"""

import ipaddress
import re
from datetime import date

import phonenumbers
from stdnum import iban as iban_number
from stdnum import luhn
from stdnum.br import cpf
from stdnum.cn import uscc
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.kr import rrn
from stdnum.us import ssn

from safety.filters.engine import Candidate
from safety.filters.surroundings import (
    INDIAN,
    SOCIAL,
    called_an_order,
    free,
    free_after,
    free_before,
    heads_of_column,
    named,
    text_before,
)

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_GAP = re.compile(r"[ .\u2010-\u2015\u2212-]")
"""What parts the groups of a number, dashes of every length among it."""
_ID_LAYOUT = re.compile(r"18|6 12|14 4|6 8 4|6 8 3 1|6 4 4 4|6 4 2 2 4|3 3 4 4 4|3 3 4 2 2 4|4 4 4 4 2|(?:1 ){17}1")
"""Lengths of the groups that people write a resident id in."""
_SINGLES = re.compile("(?:1 ){15}1|(?:1 ){18}1")
"""Those of a card with each digit apart."""
_SPACED_NINO = re.compile(r"[A-Z]{2}(?: \d{2}){3} [A-Z]")
_PASSPORT = ("护照", "passport", "Passport", "PASSPORT")
_PASSPORT_HEAD = re.compile(r"(?i).{0,6}(?:护照|passport)(?:[\s_-]*(?:号码?|编号|num(?:ber)?|no|id|#)\.?)?")
_VERSION = re.compile(r"(?i)(?:\bv|version|release|版本|ver\.?)[\s:/-]*$")
_MACHINE = re.compile(r"(?i)\b(?:ip|ipv4|server|host|dns|ping|address|gateway|router)|地址|服务器|主机|网关")
_LONGEST_USER = 80
_URL_USER = re.compile(r"[A-Za-z0-9._~%!$&'*+=:-]*")
"""What may stand between `//` and the password of a URL."""
_CARD_BEGINNINGS = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|3[47]\d{13}|35\d{14}|6(?:011|5\d\d|4[4-9]\d)\d{12}"
    r"|62\d{14,17}|60\d{14,17}|(?:436742|456351|9558\d\d)\d{13}"
)
_FILE_ENDINGS = frozenset(["png", "jpg", "jpeg", "gif", "svg", "webp", "js", "ts", "css", "py", "json", "md", "html"])
_NO_NINO = frozenset(["BG", "GB", "NK", "KN", "TN", "NT", "ZZ"])
_HKID_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TW_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"


def cn_resident_id(candidate: Candidate) -> int:
    """Measure eighteen digits with a real date and check digit, in groups that people write."""
    groups, gaps = _layout(candidate.value), set(_GAP.findall(candidate.value))
    written = _ID_LAYOUT.fullmatch(groups) and len(gaps) <= 1 and (groups[:2] != "1 " or _alone(candidate))
    return _whole(candidate, bool(written) and is_resident_id(_GAP.sub("", candidate.value).upper()))


def is_resident_id(number: str) -> bool:
    """Whether `number` (18 characters) is a Chinese resident id by its date and check digit."""
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return number[17] == _CHECKS[total % 11]


def cn_mobile(candidate: Candidate) -> int:
    """Measure a mobile number that is not the end of a longer number, a decimal or an order's number."""
    return _whole(candidate, free(candidate) and not called_an_order(candidate))


def bank_card(candidate: Candidate) -> int:
    """Measure a card number: issuer's range, Luhn, not called an order; a month or code after it is not part of it."""
    value, single = candidate.value, candidate.value[1:2] == " "
    shorter = "" if single else value[: max((gap.start() for gap in _GAP.finditer(value)), default=0)]
    if single and not (_SINGLES.fullmatch(_layout(value)) and _alone(candidate)):
        size = 0
    elif _is_card(value) and free_after(candidate):
        size = len(value)
    elif _is_card(shorter):
        size = len(shorter)
    else:
        return 0
    return size if free_before(candidate) and not called_an_order(candidate) else 0


def _is_card(value: str) -> bool:
    digits = _GAP.sub("", value)
    return _CARD_BEGINNINGS.fullmatch(digits) is not None and len(set(digits)) > 1 and bool(luhn.is_valid(digits))


def _layout(value: str) -> str:
    """Lengths of the groups of a number: '6 8 4' of '110105-19491231-002X'."""
    return " ".join(str(len(group)) for group in _GAP.split(value))


def _alone(candidate: Candidate) -> bool:
    """Whether a row of single digits is not a piece of a longer row, as in a table of digits."""
    text, start, end = candidate.text, candidate.start, candidate.end
    return not (text[max(0, start - 2) : start - 1].isdigit() or text[end + 1 : end + 2].isdigit())


def passport_listed(candidate: Candidate) -> int:
    """Measure a cell of a table whose column is headed 'passport', whatever the rows between say of passports."""
    return _whole(candidate, any(map(_PASSPORT_HEAD.fullmatch, heads_of_column(candidate, _PASSPORT))))


def cn_credit_code(candidate: Candidate) -> int:
    """Measure a unified social credit code with its check character."""
    return _whole(candidate, bool(uscc.is_valid(candidate.value)))


def email(candidate: Candidate) -> int:
    """Measure an address, not a file name, nor the password and host of a URL (`db://user:word@host`)."""
    ending = candidate.value.rpartition(".")[2].lower()
    before = candidate.text[max(0, candidate.start - _LONGEST_USER) : candidate.start]
    address = before[before.rfind("//") + 2 :] if "//" in before else None
    in_url = address is not None and before[-1] == ":" and _URL_USER.fullmatch(address) is not None
    in_path = before[-1:] == "/" and before[-2:-1].isascii()
    ok = ending not in _FILE_ENDINGS and not in_url and not in_path and ".." not in candidate.value
    return _whole(candidate, ok or text_before(candidate).endswith("mailto:"))


def phone(candidate: Candidate) -> int:
    """Measure a number that is valid in its country's plan; without a country code, in the United States'."""
    region = None if candidate.value.startswith("+") else "US"
    return _whole(candidate, free(candidate) and _valid_phone(candidate.value, region))


def phone_named(candidate: Candidate) -> int:
    """Measure a number that somebody called a phone number, valid in one of the large plans."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", _GAP.sub("-", candidate.value)):
        return 0
    return _whole(candidate, any(_valid_phone(candidate.value, region) for region in ("US", "GB", "DE", "CN", "IN")))


def iban(candidate: Candidate) -> int:
    """Measure an IBAN; words in capitals after it are not part of it."""
    value = candidate.value
    while value:
        plain = value.replace(" ", "")
        if _mod_97(plain) and iban_number.is_valid(plain):
            return len(value)
        value = value.rpartition(" ")[0]
    return 0


def _mod_97(plain: str) -> bool:
    """Check ISO 7064 MOD 97-10 alone: what fails it needs no look at the country's format."""
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def us_ssn(candidate: Candidate) -> int:
    """Measure a social security number that could have been given out, and that is called one: parts look the same."""
    number = _GAP.sub("-", candidate.value)
    return _whole(candidate, free(candidate) and bool(ssn.is_valid(number)) and named(candidate, SOCIAL))


def uk_nino(candidate: Candidate) -> int:
    """Measure a national insurance number with a prefix in use, in pairs ('AB 12 34 56 C') or called one."""
    known = _SPACED_NINO.fullmatch(candidate.value) is not None or named(candidate, SOCIAL)
    return _whole(candidate, candidate.value[:2] not in _NO_NINO and known)


def national_id(candidate: Candidate) -> int:
    """Measure an identity number of Hong Kong, Taiwan, Singapore, Brazil, India, Korea or Italy, by its check digit."""
    value = candidate.value
    ok = (
        _hong_kong(value)
        or _taiwan(value)
        or _singapore(value)
        or any(kind.is_valid(value) for kind in (cpf, rrn, codicefiscale) if len(value) >= 14)  # noqa: PLR2004 - shortest
        or (value.count(" ") == 2 and aadhaar.is_valid(value) and named(candidate, INDIAN))  # noqa: PLR2004 - three groups
    )
    return _whole(candidate, bool(ok) and free(candidate))


def ip_address(candidate: Candidate) -> int:
    """Measure an address of a machine: no version number, no loopback, no mask, no time of day."""
    try:
        address = ipaddress.ip_address(candidate.value)
    except ValueError:
        return 0
    if max(map(len, re.split(r"[.:]", candidate.value))) == 1 and not _MACHINE.search(text_before(candidate)):
        return 0
    dull = address.is_loopback or address.is_unspecified or address.is_multicast or candidate.value.startswith("255.")
    long = address.version == 4 or sum(c != ":" for c in candidate.value) >= 8  # noqa: PLR2004 - IPv4; 8 hex digits
    return _whole(candidate, long and not dull and free(candidate) and not _VERSION.search(text_before(candidate)))


def _whole(candidate: Candidate, ok: bool) -> int:
    return len(candidate.value) if ok else 0


def _valid_phone(value: str, region: str | None) -> bool:
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(value, region)))
    except phonenumbers.NumberParseException:
        return False


def _hong_kong(value: str) -> bool:
    found = re.fullmatch(r"([A-Z]{1,2})(\d{6}) ?\(([0-9A])\)", value)
    if found is None:
        return False
    letters = [36, *(_HKID_LETTERS.index(c) for c in found[1])][-2:]
    total = sum(n * weight for n, weight in zip([*letters, *map(int, found[2])], range(9, 1, -1), strict=True))
    return (total + _HKID_LETTERS.index(found[3])) % 11 == 0


def _taiwan(value: str) -> bool:
    if not re.fullmatch(r"[A-Z][1289]\d{8}", value):
        return False
    code = _TW_LETTERS.index(value[0]) + 10
    digits = [code // 10, code % 10, *map(int, value[1:])]
    return sum(n * weight for n, weight in zip(digits, (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1), strict=True)) % 10 == 0


def _singapore(value: str) -> bool:
    if not re.fullmatch(r"[STFGM]\d{7}[A-Z]", value):
        return False
    shift = {"T": 4, "G": 4, "M": 3}.get(value[0], 0)
    total = shift + sum(int(n) * w for n, w in zip(value[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "KLJNPQRTUWX"}.get(value[0], "XWUTRQPNMLK")
    place = 10 - total % 11 if value[0] == "M" else total % 11
    return letters[place] == value[8]
