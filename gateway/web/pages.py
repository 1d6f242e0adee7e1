"""Renders pages and parts of pages: templates, the person's language and theme, and the words of that language."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response
from litestar.template.base import csrf_token
from markupsafe import Markup

from gateway.auth.principal import Principal, Role
from gateway.history.records import StoredMessage
from gateway.problems import AttestError
from gateway.settings import Settings
from gateway.web.assets import Assets, load_assets
from gateway.web.catalogue import Catalogue, load_catalogues, negotiate
from gateway.web.markdown import Markdown
from gateway.web.message_view import MessageView, message_view

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGE_COOKIE = "attest_language"
THEME_COOKIE = "attest_theme"
THEMES = ("auto", "light", "dark")

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
    console: bool = False
    """Whether there is a console to lead its people to."""

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
            path=request.url.path,
        )

    def problem(self, request: AnyRequest, error: AttestError) -> Response[str]:
        """Return the page that tells a person about an error; for browsers that asked for HTML."""
        response = self.view(request).page("problem.html", status=error.status, code=_page_code(error))
        if error.retry_after is not None:
            response.headers["retry-after"] = str(error.retry_after)
        return response


def make_pages(settings: Settings, rule_title: RuleTitle = no_title, *, console: bool = False) -> Pages:
    """Load templates, catalogues and static files."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return Pages(settings, load_assets(), load_catalogues(), environment, rule_title, console)


@dataclass(frozen=True)
class View:
    """Renders for one person in one language."""

    pages: Pages
    catalogue: Catalogue
    theme: str
    principal: Principal | None
    csrf: str
    path: str

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
    def may_chat(self) -> bool:
        """Whether the person has the role for it."""
        return self.principal is not None and self.principal.may(Role.STAFF)

    @property
    def may_review(self) -> bool:
        """Whether the console has anything for the person."""
        return self.pages.console and self.principal is not None and self.principal.may(Role.COMPLIANCE, Role.SECURITY)

    def page(self, template: str, *, status: int = 200, **context: object) -> Response[str]:
        """Return a whole page."""
        return Response(self.render(template, **context), status_code=status, media_type=MediaType.HTML)

    def render(self, template: str, **context: object) -> str:
        """Return a template's text."""
        return self.pages.environment.get_template(template).render(
            view=self, t=self.catalogue.text, static=self.pages.assets.url, **context
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
    return error.code if error.code in ("unauthenticated", "forbidden", "not-found") else "other"
