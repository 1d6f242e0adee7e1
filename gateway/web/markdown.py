"""The one way in which a text that somebody else wrote becomes HTML: answers live, answers stored, later the console.

Rendered on the server, so that the stream and a reload show the same, a test needs no browser, and the page carries
neither a parser nor a sanitiser. Raw HTML is never parsed (it is shown as text), pictures become links (a picture
would make the browser call another host), and nh3 then drops whatever is not on the short list below.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

_TAGS = {
    *("p", "br", "hr", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "div", "span"),
    *("em", "strong", "del", "a", "code", "pre", "button"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "button": {"type"}}
_CLASSES = {
    "div": {"code", "code-head", "table-scroll"},
    "button": {"code-copy"},
    "span": {"code-language"},
    "th": {"right", "center"},
    "td": {"right", "center"},
}
_SCHEMES = {"http", "https", "mailto"}
# What reorders or hides text on the screen: bidirectional controls and invisible separators (Unicode TR 36, 2.5).
_DECEPTIVE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")
_LANGUAGE = re.compile(r"[A-Za-z0-9+#.\-]{1,20}")
MOST_BRACKETS = 5_000
"""Each `[` is looked at as a link that may begin there, for a tenth of a millisecond; no answer has as many."""
MAX_NESTING = 100
"""Deeper quotes and lists than this are not shown; nobody writes them."""


def visible(text: str) -> str:
    """Return text in which each character that would reorder or hide others is written out as `[U+202E]`."""
    return _DECEPTIVE.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    character = found.group()
    # A soft hyphen, a zero-width space and direction marks occur in honest text and only need to go.
    if character in "\u00ad\u200b\u200e\u200f\u061c\ufeff\u2060":
        return ""
    return "\n" if unicodedata.category(character) in ("Zl", "Zp") else f"[U+{ord(character):04X}]"


@dataclass(frozen=True)
class Markdown:
    """Renders Markdown to HTML that is safe in our page. `copy_label` is the word on a code block's button."""

    copy_label: str

    @cached_property
    def _parser(self) -> MarkdownIt:
        options = {"html": False, "linkify": False, "maxNesting": MAX_NESTING, "breaks": True}
        parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
        # Definitions elsewhere in the text would change blocks that are already on the screen. Without pictures,
        # `![text](address)` reads as `!` and a link.
        parser.disable(["reference", "html_block", "html_inline", "image"])
        parser.core.ruler.push("attest_tidy", _tidy)
        parser.add_render_rule("fence", _fence_with(self.copy_label))
        parser.add_render_rule("code_block", _fence_with(self.copy_label))
        parser.add_render_rule("table_open", _table_open)
        parser.add_render_rule("table_close", _table_close)
        return parser

    def html(self, text: str) -> str:
        """Return the whole text as safe HTML; one with more than `MOST_BRACKETS` as it stands, without its marks."""
        if text.count("[") > MOST_BRACKETS:
            return _clean("<p>" + escape(visible(text)).replace("\n", "<br>\n") + "</p>\n")
        return _clean(self._parser.render(visible(text)))

    def last_block_line(self, text: str) -> int:
        """Return the line where the last top-level block begins.

        Where the text ends with a whole line, what stands before that block can no longer change.
        """
        return max((token.map[0] for token in self._parser.parse(text) if token.level == 0 and token.map), default=0)


@dataclass
class LiveMarkdown:
    """An answer as it grows, cut into pieces of HTML of which only the last can still change.

    The client keeps the pieces in order; each `render` says how many of them stay and which follow those.
    """

    markdown: Markdown
    settled: int = 0
    """Pieces that can no longer change."""
    _open: str = ""

    @property
    def open_characters(self) -> int:
        """Characters that the next `render` has to go through."""
        return len(self._open)

    def add(self, text: str) -> None:
        """Take more text."""
        self._open += visible(text)

    def render(self) -> tuple[int, tuple[str, ...]]:
        """Return how many pieces stay and the pieces that replace all others."""
        kept = self.settled
        line = self.markdown.last_block_line(self._open[: self._open.rfind("\n") + 1])
        lines = self._open.split("\n")
        # A block in the middle of a text ends with its line: code in a list would lose the end of its last one.
        pieces = ["\n".join(lines[:line]) + "\n", "\n".join(lines[line:])] if line else [self._open]
        self._open = pieces[-1]
        self.settled += len(pieces) - 1
        return kept, tuple(self.markdown.html(piece) for piece in pieces)


def _fence_with(copy_label: str) -> Callable[..., str]:
    def fence(_renderer: RendererHTML, tokens: list[Token], at: int, *_: object) -> str:
        language = _LANGUAGE.match(tokens[at].info.strip())
        label = escape(language.group()) if language else ""
        return (
            f'<div class="code"><div class="code-head"><span class="code-language">{label}</span>'
            f'<button type="button" class="code-copy">{escape(copy_label)}</button></div>'
            f"<pre><code>{escape(tokens[at].content)}</code></pre></div>\n"
        )

    return fence


def _tidy(state: StateCore) -> None:
    """Headings in an answer are below the page's own; table cells carry classes, not styles."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        style = str(token.attrs.pop("style", ""))
        if style.startswith("text-align:") and style.endswith(("right", "center")):
            token.attrSet("class", style.removeprefix("text-align:"))


def _table_open(*_: object) -> str:
    return '<div class="table-scroll"><table>'


def _table_close(*_: object) -> str:
    return "</table></div>\n"


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
