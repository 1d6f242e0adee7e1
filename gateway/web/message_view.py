"""What the templates show of one message: text as HTML, and how its turn ended in plain words."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from markupsafe import Markup

from gateway.history.records import CUT_SHORT, RUNNING, StoredMessage
from gateway.turn_events import Outcome
from gateway.web.catalogue import Catalogue
from gateway.web.markdown import Markdown, visible
from inference.ports import Role
from safety.verdict import Category

_OWN_DOING = ("client_gone", "stopped")


class CategoryView(msgspec.Struct, frozen=True):
    """One category of a block in words."""

    title: str
    meaning: str


class RuleView(msgspec.Struct, frozen=True):
    """One rule of a block: its title where one is known, and its id; never its pattern."""

    id: str
    title: str


class NoticeView(msgspec.Struct, frozen=True):
    """Why a turn did not end as usual, and what to do now."""

    tone: str
    """`blocked`, `stopped`, or `quiet` for what the person did themselves."""
    title: str
    explanation: str
    advice: str
    categories: tuple[CategoryView, ...] = ()
    rules: tuple[RuleView, ...] = ()
    offers_help: bool = False
    """What a category means says where help is: it is shown without being asked for."""
    may_edit: bool = False
    """The person's message is what was blocked: offer to edit it."""
    appeal: str = ""
    """Of a block: `none` (it may be contested), `open`, `harmful` or `harmless`; empty where there is none."""
    appeal_note: str = ""


class MessageView(msgspec.Struct, frozen=True, kw_only=True):
    """One message as a template shows it."""

    id: str
    role: str
    html: Markup
    source: str
    """The text as Markdown, for the copy button."""
    turn_id: str
    running: bool
    completed: bool
    blocked: bool
    """A user message that was not sent to the model."""
    notice: NoticeView | None
    may_regenerate: bool
    redacted: bool
    cut_short: bool
    """The answer reached its longest length."""
    tokens: int
    seconds: str
    rating: int
    comment: str


def message_view(
    message: StoredMessage,
    *,
    catalogue: Catalogue,
    markdown: Markdown,
    rule_title: Callable[[str, str], str],
    stale_after_s: float,
    last: bool,
) -> MessageView:
    """Return what to show of a message; `last` is the newest answer, which alone may be asked for again."""
    answer = message.role == Role.ASSISTANT
    running = message.outcome == RUNNING and datetime.now(UTC) - message.updated_at < timedelta(seconds=stale_after_s)
    notice = _notice(message, catalogue, rule_title) if answer and not running else None
    return MessageView(
        id=message.id,
        role=message.role,
        html=Markup(markdown.html(message.text)) if answer else Markup.escape(visible(message.text)),  # noqa: S704 - nh3
        source=message.text,
        turn_id=message.turn_id,
        running=running,
        completed=message.outcome == Outcome.COMPLETED,
        blocked=message.outcome == Outcome.BLOCKED and message.reason == "input_blocked",
        notice=notice,
        may_regenerate=answer and last and not running and not (notice is not None and notice.may_edit),
        redacted=message.redacted,
        cut_short=answer and message.reason == CUT_SHORT,
        tokens=message.tokens,
        seconds=f"{message.duration_ms / 1000:.1f}",
        rating=message.rating,
        comment=message.comment,
    )


def _notice(message: StoredMessage, catalogue: Catalogue, rule_title: Callable[[str, str], str]) -> NoticeView | None:
    if message.outcome == Outcome.COMPLETED:
        return None
    blocked = message.outcome == Outcome.BLOCKED
    reason = message.reason if message.outcome != RUNNING else "interrupted"
    if not catalogue.has(f"notice.{reason}.title"):
        reason = "other_block" if blocked else "other_end"
    return NoticeView(
        tone="blocked" if blocked else "quiet" if reason in _OWN_DOING else "stopped",
        title=catalogue.text(f"notice.{reason}.title"),
        explanation=catalogue.text(f"notice.{reason}.explanation"),
        advice=catalogue.text(f"notice.{reason}.advice"),
        categories=tuple(_category(name, catalogue) for name in message.categories),
        rules=tuple(RuleView(rule, rule_title(rule, catalogue.language)) for rule in message.rules),
        offers_help=Category.SELF_HARM in message.categories,
        may_edit=reason == "input_blocked",
        appeal=(message.appeal or "none") if blocked else "",
        appeal_note=visible(message.appeal_note),
    )


def _category(name: str, catalogue: Catalogue) -> CategoryView:
    key = name if catalogue.has(f"category.{name}.title") else "other"
    return CategoryView(catalogue.text(f"category.{key}.title"), catalogue.text(f"category.{key}.meaning"))
