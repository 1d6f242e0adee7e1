"""Texts as evidence: marked at their spans, with nothing hidden and nothing run."""

from hypothesis import given
from hypothesis import strategies as st

from audit.record import FindingRecord
from gateway.console.marked import SHOWN, WHOLE, marked, revealed


def finding(start: int, end: int) -> FindingRecord:
    return FindingRecord("g", "r", "c", start, end, 0.9, 0.5, "certain", "block", "answer")


def test_overlapping_findings_are_cut_where_they_begin_and_end():
    shown = marked("abcdef", [(1, finding(1, 4)), (2, finding(2, 6))])
    assert [(str(piece.html), piece.findings) for piece in shown.pieces] == [
        ("a", ()), ("b", (1,)), ("cd", (1, 2)), ("ef", (2,)),
    ]  # fmt: skip


def test_what_hides_or_reorders_is_written_out_and_html_is_text():
    html = str(revealed("<img src=x onerror=1>\u202egpj\u200b\x07\ud800\n中"))
    assert "<img" not in html
    assert html.count('class="unseen"') == 4
    for code in ("U+202E", "U+200B", "U+0007", "U+D800"):
        assert code in html
    assert html.endswith("\n中")
    html.encode()


@given(st.text(), st.lists(st.tuples(st.integers(-5, 60), st.integers(-5, 60))))
def test_any_spans_cover_the_text_exactly_once(text, spans):
    shown = marked(text, [(number, finding(*span)) for number, span in enumerate(spans, 1)])
    assert "".join(str(piece.html) for piece in shown.pieces) == "".join(str(revealed(c)) for c in text)


def test_a_long_text_is_cut_and_says_so():
    shown = marked("x" * 1_000_000, [(1, finding(10, 999_999))])
    assert (shown.characters, shown.left_out) == (1_000_000, 1_000_000 - SHOWN)
    assert marked("x" * WHOLE, [], whole=True).left_out == 0
    assert marked("x" * 1_000_000, [], whole=True).left_out == 1_000_000 - WHOLE
