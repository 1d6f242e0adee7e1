"""Rows of a table in Chinese: short cells with commas, tabs or bars between them.

No reader learnt to read them, and a header (`日期,开盘,收盘`) looks like an offer of something illegal. With the
comma of lists (`、`) between the cells they are what they are, a list of words.
"""

import re

_CELL = r"(?:[^,\t|\n。！？!?；;：:]{0,8}(?=[,\t|\n]|\Z)|(?=[^,\t|\n\d]{0,39}\d)[ -+\--{}~]{0,40})"
"""A few characters, or what has a digit and no Chinese in it: a date, a time, an address, an order's number."""
_ROW = re.compile(rf"^[ |]*+{_CELL}(?:[,\t|]{_CELL}){{2,}}+$", re.MULTILINE)
_SEPARATOR = re.compile(r"[,\t|]")
_HAN = re.compile("[\u3400-\u9fff]")
_LATIN = re.compile("[A-Za-z]")
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"[()]?\d++[.、)]?")
_SPELT = re.compile("[A-Za-z\u3400-\u9fff](?:[^,\t|\n]*[A-Za-z\u3400-\u9fff])?")
"""What a cell says in words: from its first letter to its last."""


def as_lists(text: str) -> str:
    """Return a text, as long as it was, with each row of three cells and more read as a list; linear."""
    return _ROW.sub(lambda row: _SEPARATOR.sub("、", row[0]) if _in_chinese(row[0]) else row[0], text)


def joined(text: str) -> str:
    """Return a text with the cells of each row of words run together, or nothing where there is no such row.

    So a demand that somebody cuts into cells is read as well.
    """
    found = _ROW.sub(lambda row: _SEPARATOR.sub("", row[0]) if _of_words(row[0]) else row[0], text)
    return found if found != text else ""


def spelt(text: str) -> str:
    """Return a text with what the cells of rows with numbers say in words run together, or nothing without such a row.

    `1,怎么,2.制作` has the numbers of a list between the cells of a demand, or in them.
    """
    found = _ROW.sub(lambda row: row[0] if not _HAN.search(row[0]) or _of_words(row[0]) else _words_of(row[0]), text)
    return found if found != text else ""


def _words_of(row: str) -> str:
    said = [found[0] for cell in _SEPARATOR.split(_NUMBER.sub("", row)) if (found := _SPELT.search(cell))]
    return "".join(f" {word}" if word[0].isascii() else word for word in said).lstrip()


def _of_words(row: str) -> bool:
    return _HAN.search(row) is not None and _DIGIT.search(row) is None


def beside(text: str) -> str:
    """Return what stands beside the rows of a text, or nothing where there are none: a table drowns a demand."""
    found = _ROW.sub(lambda row: "" if _HAN.search(row[0]) else row[0], text)
    return found.strip() if found != text else ""


def _in_chinese(row: str) -> bool:
    """Whether a row is written in Chinese: one character of it among English words makes no Chinese table."""
    return 0 < 2 * len(_HAN.findall(row)) >= len(_LATIN.findall(row))
