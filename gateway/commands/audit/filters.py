"""The filters of turns that `attest audit list` and `export` share, and the searched text beside the record."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NoReturn

import click
import msgspec

from audit.approval import Action, Approvals
from audit.governing import GoverningError, Governor
from audit.record import Content, Entry, Kind
from audit.search.query import QueryError, TurnQuery
from gateway.cases.store import is_closed
from gateway.commands.audit.common import Moment, Opened, access
from gateway.inquiry.officer import PURPOSE_LIMIT
from gateway.inquiry.permission import CLOSED, granted
from gateway.problems import AttestError, CaseClosedError, SecondOfficerRequiredError

_OPTIONS: dict[str, str] = {
    "subject": "Only this person's turns (the provider's subject).",
    "group": "Only turns of people who then had this group.",
    "role": "Only turns of people who then had this role.",
    "conversation": "Only this conversation's turns.",
    "verdict": "Only turns with this verdict (allow, redact, block, refused ...).",
    "category": "Only turns with a finding of this category.",
    "rule": "Only turns with a finding of this rule.",
    "model": "Only turns that asked for this model.",
    "text": "Only turns with these words in a text (docs/audit-search.md); needs --purpose.",
}

_ASK = "A second officer must grant that you read texts: attest audit approve ask CASE, then --purpose CASE."

Command = Callable[..., Any]


def turn_filters(command: Command) -> Command:
    """Add the options of `query_of`, and `--purpose`."""
    options = [click.option(f"--{name}", default="", help=text) for name, text in _OPTIONS.items()]
    options += [
        click.option("--since", type=Moment(), default=None, help="Not before: a time, or an age such as 24h."),
        click.option("--until", type=Moment(), default=None, help="Before this time or age."),
        click.option("--purpose", default="", help="Case number; needed where texts are searched or shown."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def query_of(given: dict[str, str | datetime | None], **more: Any) -> TurnQuery:
    """Return the query that the options say. Raises `click.UsageError`."""
    fields = {"conversation_id" if name == "conversation" else name: value for name, value in given.items()}
    try:
        return msgspec.structs.replace(TurnQuery(), **fields, **more).checked()
    except QueryError as error:
        raise click.UsageError(str(error)) from None


def check_purpose(purpose: str, *, needed: bool) -> None:
    """Let texts be asked for with a purpose only. Raises `click.UsageError`."""
    if needed and not purpose.strip():
        raise click.UsageError("texts are only searched and shown for a purpose: give --purpose CASE")
    if len(purpose) > PURPOSE_LIMIT:
        raise click.UsageError(f"--purpose: at most {PURPOSE_LIMIT} characters")


async def check_granted(parts: Opened, command: str, purpose: str, turn_id: str = "") -> None:
    """Let texts be read for no closed case, and only once a second officer granted it, where that is demanded.

    A refusal is on record. `command`: which one asks, `turn_id`: for which turn. Raises `GoverningError`.
    """
    about = {"command": command} | ({"purpose": purpose} if purpose else {})
    denied = msgspec.structs.replace(access(Kind.ACCESS_DENIED, **about), turn_id=turn_id)
    governor = Governor(parts.engine)
    if purpose and await is_closed(governor, purpose):
        await _refuse(parts, denied, CaseClosedError, CLOSED)
    if Action.CONTENT in parts.settings.four_eyes:
        approvals = Approvals(governor, timedelta(hours=parts.settings.audit_approval_hours))
        if not purpose or not await granted(approvals, denied.subject, purpose):
            await _refuse(parts, denied, SecondOfficerRequiredError, _ASK)


async def _refuse(parts: Opened, denied: Entry, error: type[AttestError], message: str) -> NoReturn:
    """Record a refusal with the reason that it has over HTTP. Raises `GoverningError`."""
    await parts.log.append(msgspec.structs.replace(denied, reason=error.code.replace("-", "_")))
    raise GoverningError(message)


def asked(kind: Kind, query: TurnQuery, purpose: str, **detail: str | float | bool) -> Entry:
    """Return the record of a search or an export; the searched text goes beside it, encrypted."""
    more: dict[str, str | float | bool] = {"purpose": purpose} if purpose else {}
    if query.text:
        more["text_characters"] = len(query.text)
    texts = (Content("query", "officer", query.text),) if query.text else ()
    return msgspec.structs.replace(access(kind, **query.filters(), **more, **detail), contents=texts)
