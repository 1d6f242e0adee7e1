"""Renders pages and parts of pages: templates, the person's language and theme, and the words of that language."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response
from litestar.template.base import csrf_token
from markupsafe import Markup

from gateway.auth.principal import Principal, Role
from gateway.console.names import Names
from gateway.console.section import Group, Section
from gateway.history.records import Conversation, StoredMessage
from gateway.problems import AttestError
from gateway.settings import Settings
from gateway.web.assets import Assets, load_assets
from gateway.web.catalogue import Catalogue, load_catalogues, negotiate
from gateway.web.markdown import Markdown, visible
from gateway.web.message_view import MessageView, message_view

TEMPLATES = Path(__file__).parent / "templates"
ZONE_COOKIE = "attest_zone"
UTC_ZONE = ZoneInfo("UTC")
_IN_PATH = "/:@!$&'()*+,;=~"
"""What a path may hold unescaped, beside letters, digits and `-._`."""
_ZONE = re.compile(r"[A-Za-z0-9_+\-]{1,32}(/[A-Za-z0-9_+\-]{1,32}){0,2}")
LANGUAGE_COOKIE = "attest_language"
THEME_COOKIE = "attest_theme"
THEMES = ("auto", "light", "dark")
PAGE_CODES = (
    *("unauthenticated", "forbidden", "case-closed", "not-found", "bad-request", "conflict"),
    *("audit-unavailable", "database-unavailable", "overloaded"),
)
"""Codes of errors that a page has words of its own for."""

RuleTitle = Callable[[str, str], str]
"""Rule id and language tag → the rule's title in plain words, or an empty string."""

AnyRequest = Request[Any, Any, Any]


def no_title(rule: str, language: str) -> str:
    """No titles are known: the panel then names the rule's id alone."""
    del rule, language
    return ""


@dataclass(frozen=True)
class Pages:
    """What every page shares; made once at start."""

    settings: Settings
    assets: Assets
    catalogues: dict[str, Catalogue]
    environment: Environment
    rule_title: RuleTitle
    sections: tuple[Section, ...] = ()
    """Sections of the console; each person sees those that are open to them."""
    names: Names | None = None
    """Names of people, for the console; None: everybody is shown by their subject."""

    def view(self, request: AnyRequest) -> "View":
        """Return the renderer for one request: its language, theme and person."""
        language = request.cookies.get(LANGUAGE_COOKIE, "")
        if language not in self.catalogues:
            language = negotiate(request.headers.get("accept-language", ""), self.catalogues)
        theme = request.cookies.get(THEME_COOKIE, "")
        return View(
            pages=self,
            catalogue=self.catalogues[language],
            theme=theme if theme in THEMES else "auto",
            principal=request.scope.get("user"),
            csrf=csrf_token({"request": request}),
            path=place_of(request),
            zone=zone_named(request.cookies.get(ZONE_COOKIE, "")),
        )

    def problem(self, request: AnyRequest, error: AttestError) -> Response[str]:
        """Return the page that tells a person about an error; for browsers that asked for HTML."""
        response = self.view(request).page("problem.html", status=error.status, code=_page_code(error))
        if error.retry_after is not None:
            response.headers["retry-after"] = str(error.retry_after)
        return response


def make_pages(
    settings: Settings,
    rule_title: RuleTitle = no_title,
    *,
    sections: tuple[Section, ...] = (),
    names: Names | None = None,
) -> Pages:
    """Load templates, catalogues and static files."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return Pages(settings, load_assets(), load_catalogues(), environment, rule_title, sections, names)


@dataclass(frozen=True)
class View:
    """Renders for one person in one language."""

    pages: Pages
    catalogue: Catalogue
    theme: str
    principal: Principal | None
    csrf: str
    path: str
    """Where the person is, with its query."""
    zone: ZoneInfo = UTC_ZONE
    """The browser's time zone."""

    @property
    def language(self) -> str:
        """Language tag of the page (BCP 47)."""
        return self.catalogue.language

    @cached_property
    def markdown(self) -> Markdown:
        """The renderer of answers in this language."""
        return Markdown(copy_label=self.catalogue.text("code.copy"))

    @property
    def script_messages(self) -> str:
        """What the scripts say, as JSON."""
        return msgspec.json.encode(self.catalogue.script_messages()).decode()

    @property
    def person(self) -> str:
        """Whose page it is: for drafts, and for `X-Attest-Person` in the requests of the page's scripts."""
        return self.principal.digest if self.principal is not None else ""

    @property
    def may_chat(self) -> bool:
        """Whether the person has the role for it."""
        return self.principal is not None and self.principal.may(Role.STAFF)

    @property
    def may_review(self) -> bool:
        """Whether the console has anything for the person."""
        return bool(self.sections)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Sections of the console that are open to the person."""
        principal = self.principal
        return tuple(one for one in self.pages.sections if principal is not None and one.open_to(principal))

    @property
    def navigation(self) -> tuple[tuple[Group, tuple[Section, ...]], ...]:
        """The same in groups; those that are not empty."""
        grouped = ((group, tuple(one for one in self.sections if one.group is group)) for group in Group)
        return tuple((group, sections) for group, sections in grouped if sections)

    def moment(self, at: datetime, *, seconds: bool = True) -> str:
        """Return a time as it is written in the person's zone, which the page names."""
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")

    def category(self, name: str) -> str:
        """Return what a category is called; one that nobody knows keeps its own name."""
        key = f"category.{name}.title"
        return self.catalogue.text(key) if self.catalogue.has(key) else visible(name)

    def categories(self, names: tuple[str, ...]) -> str:
        """Return what categories are called, with commas."""
        return ", ".join(self.category(name) for name in names)

    def title(self, conversation: Conversation | None) -> str:
        """Return what a conversation is called; one of blocked messages alone has its time instead of a name."""
        if conversation is None:
            return self.catalogue.text("chat.untitled")
        since = self.moment(conversation.created_at, seconds=False)
        return conversation.title or self.catalogue.text("chat.untitled_since", at=since)

    def page(self, template: str, *, status: int = 200, **context: object) -> Response[str]:
        """Return a whole page."""
        return Response(self.render(template, **context), status_code=status, media_type=MediaType.HTML)

    def render(self, template: str, **context: object) -> str:
        """Return a template's text."""
        return self.pages.environment.get_template(template).render(
            view=self, t=self.catalogue.text, static=self.pages.assets.url, visible=visible, **context
        )

    def message(self, message: StoredMessage, *, last: bool = False) -> MessageView:
        """Return what the templates show of a message."""
        return message_view(
            message,
            catalogue=self.catalogue,
            markdown=self.markdown,
            rule_title=self.pages.rule_title,
            stale_after_s=self.pages.settings.turn_timeout_s + 60,
            last=last,
        )

    def footer(self, message: MessageView) -> Markup:
        """Return what stands below an answer that has ended."""
        return Markup(self.render("partials/answer_footer.html", message=message))  # noqa: S704 - from our template


def _page_code(error: AttestError) -> str:
    return error.code if error.code in PAGE_CODES else "other"


def place_of(request: AnyRequest) -> str:
    """Return where a person is, with the query, as an address is written (RFC 3986): to come back to it."""
    path, query = quote(request.url.path, safe=_IN_PATH), request.url.query
    return f"{path}?{query}" if query and request.method == "GET" else path


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone by its name in the IANA database (the browser says it in a cookie); UTC for any other."""
    try:
        return ZoneInfo(name) if _ZONE.fullmatch(name) else UTC_ZONE
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC_ZONE
