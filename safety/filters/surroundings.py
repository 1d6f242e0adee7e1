"""What stands beside a number and says what it is: a word, the head of its column, a sign that glues it to another."""

import re
from typing import NamedTuple

from safety.filters.engine import Candidate
from safety.linear import Pattern

# Edges of a Latin word, in names such as orderId and purchaseOrder too: 'ref' is no word of 'refund'.
_BEGINS = r"(?-i:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
_ENDS = r"(?-i:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
_ORDER = re.compile(
    r"(?i)订单号?|单号|流水|编号|物流|快递|运单"
    rf"|{_BEGINS}(?:order|tracking|invoice|ticket|ref(?:erence)?|sku|isbn)s?(?:ids?|no|nr|sn|num(?:ber)?)?{_ENDS}"
)
_ROW, _ROW_SIGNS, _DIGITS = 200, " ,;、", "0123456789"
"""Code points of a row of numbers that is looked back over, and what stands between them."""
_MOBILE = 11
_TO_BLANKS = str.maketrans(dict.fromkeys(_ROW_SIGNS, " "))
_OF_NUMBERS = re.compile(
    r"(?i)(?:(?<=[号码])\([^()]{1,8}\)|[\W_单号编代条码流水尾是为即]|查询|信息|详情|状态|成功"
    r"|[已待未](?:付款|支付|发货|签收|送达|揽收|取件|完成|下单|出库)"
    r"|no|nr|sn|ids?|is|was|are|num(?:ber)?s?|code|ref)*+"
)
"""What may stand between the word for an order and its number: signs and words for numbers, never a name or a card."""
_ORDERS = ("订单", "单号", "流水", "运单", "order", "Order", "ORDER", "tracking", "Tracking", "invoice", "Invoice")
SOCIAL = Pattern(
    r"(?i)(?:^|[^a-z])(?:ssns?|itin|nino|hmrc|dob|n\.i\.|(?-i:NI|ni|TIN|W-?[249]|I-9|P45|P60))(?:$|[^a-z0-9])"
    r"|social.security|national.insurance|insurance n(?:o|umber)|taxpayer|tax id|date of birth|form 10(?:40|99)"
    r"|\b(?:my|his|her|their|your) number|社保|社安|社会安全|社会保[险障]|国民保险|纳税人?识别"
)
"""Words for the numbers of American and British social insurance, and the papers that they stand in."""
INDIAN = Pattern(r"(?i)a+dhaa?r|uidai|(?:^|[^a-z])uid(?:$|[^a-z])|आधार|印度.{0,6}(?:身份|证)|national id|identity")
"""Words for the Indian identity number."""
_NAMED_BEFORE, _NAMED_AFTER = 1_000, 30
"""Code points in which a number is named that has no check digit, or only one: rows of a table among them."""
_TABLE = 2_000
"""Code points before and after a cell in which its row and the head of its column are looked for."""
_CELL_SIGNS = ",|;\t"
_SIGN = _CELL_SIGNS[0]
_QUOTES = " \"'`*\r"
_GLUE = "+.-/"


def text_before(candidate: Candidate, size: int = 16) -> str:
    """Return up to `size` code points that stand before the candidate, in what was said before its text too."""
    here = candidate.text[max(0, candidate.start - size) : candidate.start]
    return here if len(here) == size else candidate.before.text[len(here) - size :] + here


def named(candidate: Candidate, words: Pattern) -> bool:
    """Whether one of `words` stands near, before or after."""
    after = candidate.text[candidate.end : candidate.end + _NAMED_AFTER]
    return words.found_in(text_before(candidate, _NAMED_BEFORE).encode()) or words.found_in(after.encode())


def called_an_order(candidate: Candidate) -> bool:
    """Whether what stands before the number calls it an order's: not in '订单：王芳 138…' and 'order, card 4111…'.

    Of a table the nearest line about orders counts alone: one further up may be the head of another table.
    """
    before = text_before(candidate, 24)
    return (
        _ends_with_order(before)
        or (before[-1:] in _ROW_SIGNS and _in_a_row_of_orders(candidate))
        or _ends_with_order(head_of_column(candidate, _ORDERS))
    )


def _in_a_row_of_orders(candidate: Candidate) -> bool:
    """Whether the number stands in a row of numbers as long as it, before which the word for an order stands."""
    before = text_before(candidate, _ROW)
    words = before.rstrip(_ROW_SIGNS + _DIGITS)
    numbers = before[len(words) :].translate(_TO_BLANKS).split()
    alike = {len(number) for number in numbers} == {len(candidate.value)}
    # A mobile number behind a waybill's is the recipient's: only what is as long as a card looks like one by chance.
    long = len(candidate.value) > _MOBILE and candidate.value.isdigit()
    return alike and long and _ends_with_order(words[-24:])


def _ends_with_order(text: str) -> bool:
    ends = [found.end() for found in _ORDER.finditer(text)]
    return bool(ends) and _OF_NUMBERS.fullmatch(text, ends[-1]) is not None


class _Cell(NamedTuple):
    """Where a number that fills a cell stands in its table."""

    above: str
    """The lines above, with one sign between all cells; "" where the number stands in no table."""
    column: int
    signs: int
    """Signs between the cells of the row."""


def head_of_column(candidate: Candidate, words: tuple[str, ...]) -> str:
    """Return the head of the column whose cell the candidate fills; "" where it stands in no table.

    The head is looked for in the nearest line above that has one of `words`; it has as many cells as the row.
    """
    cell = _cell(candidate)
    at = max(map(cell.above.rfind, words))
    if at < 0:
        return ""
    line = cell.above[cell.above.rfind("\n", 0, at) + 1 :].partition("\n")[0]
    return _in_column(line, cell) if line.count(_SIGN) == cell.signs else ""


def heads_of_column(candidate: Candidate, words: tuple[str, ...]) -> list[str]:
    """Return each cell above, in the column whose cell the candidate fills, that has one of `words`."""
    cell = _cell(candidate)
    return [
        head
        for word in words
        if word in cell.above
        for line in cell.above.split("\n")
        if word in line and line.count(_SIGN) == cell.signs and word in (head := _in_column(line, cell))
    ]


def _cell(candidate: Candidate) -> _Cell:
    above, _, left = text_before(candidate, _TABLE).rpartition("\n")
    left = left.rstrip(_QUOTES)
    right = candidate.text[candidate.end : candidate.end + _TABLE].partition("\n")[0].lstrip(_QUOTES)
    if not (left[-1:] in _CELL_SIGNS and right[:1] in _CELL_SIGNS):
        return _Cell("", 0, 0)
    for sign in _CELL_SIGNS:
        above = above.replace(sign, _SIGN)
    return _Cell(above, _cell_ends(left), _cell_ends(left) + _cell_ends(right))


def _in_column(line: str, cell: _Cell) -> str:
    return line.split(_SIGN, cell.column + 1)[cell.column].strip(_QUOTES)


def _cell_ends(row: str) -> int:
    return sum(map(row.count, _CELL_SIGNS))


def free(candidate: Candidate) -> bool:
    """Whether no digit, point or sign glues the candidate to a longer number."""
    return free_before(candidate) and free_after(candidate)


def free_before(candidate: Candidate) -> bool:
    """Whether no sign glues the candidate to a Latin word or a number before it; a Chinese name glues nothing.

    After a slash may stand a second number as long as the first ('138…/139…').
    """
    before = text_before(candidate, len(candidate.value) + 1)
    sign, other = before[-1:], before[-2:-1]
    if not sign or sign not in _GLUE or candidate.value[0] == "+":
        return True
    if sign == "+":
        return other.isalpha() and not other.isascii()
    second = sign == "/" and len(before) > len(candidate.value) and before[:-1].isdigit()
    return second or not (other.isascii() and other.isalnum())


def free_after(candidate: Candidate) -> bool:
    """Whether no decimals and no further group of digits follow."""
    text, end = candidate.text, candidate.end
    return not (text[end : end + 1] in (".", "-") and text[end + 1 : end + 2].isdigit())
