"""`attest audit`: read the log from the command line. Every use is itself a record, made before anything is printed."""

import asyncio
import json
import os
import pwd
import re
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec

from audit.keys import FileMasterKey, KeyFileError
from audit.log import SqlAuditLog
from audit.ports import AuditIntegrityError, AuditUnavailableError, TurnFilter, TurnSummary, TurnTrail
from audit.readers import MOST_LISTED
from audit.record import Entry, Kind
from gateway import settings
from gateway.database import make_engine

_T = TypeVar("_T")
NOT_FOUND = 1
FAILED = 3
_LONGEST_ID = 200
_AGE = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Moment(click.ParamType[datetime]):
    """A time (`2026-11-20`, `2026-11-20T08:00:00+08:00`; UTC where no zone is given) or an age (`90m`, `24h`, `7d`)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            if age := _AGE.fullmatch(value):
                return datetime.now(UTC) - int(age[1]) * _UNITS[age[2]]
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time (2026-11-20T08:00) nor an age (24h)", param, ctx)


@click.group()
def audit() -> None:
    """Read the audit log. Every use is itself recorded.

    Exit codes: 0 done, 1 not found, 2 wrong use, 3 the log cannot be read or was altered.
    """


@audit.command("list")
@click.option("--subject", default="", help="Only this person's turns (the provider's subject).")
@click.option("--conversation", default="", help="Only this conversation's turns.")
@click.option("--verdict", default="", help="Only turns with this verdict (allow, redact, block, refused ...).")
@click.option("--since", type=Moment(), default=None, help="Not before: a time, or an age such as 24h.")
@click.option("--until", type=Moment(), default=None, help="Before this time or age.")
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects (docs/audit-records.md).")
def list_turns(as_json: bool, **which: Any) -> None:
    """List turns, newest first, without content."""
    which["conversation_id"] = which.pop("conversation")
    turns = _run(_list(TurnFilter(**which)))
    if as_json:
        _print_json(turns)
        return
    for turn in turns:
        ended = turn.closing_kind.removeprefix("turn.") or "running"
        click.echo(
            _plain(f"{_time(turn.at)}  {turn.turn_id}  {turn.verdict:8}  {ended:11}  {turn.subject}  {turn.reason}")
        )
    click.echo(f"{len(turns)} turns", err=True)


@audit.command("show")
@click.argument("turn_id", metavar="TURN")
@click.option("--json", "as_json", is_flag=True, help="Print one object (docs/audit-records.md).")
def show_turn(turn_id: str, as_json: bool) -> None:
    """Show one turn whole: its context, its texts and every record."""
    if len(turn_id) > _LONGEST_ID:
        raise click.UsageError("TURN is the id of a turn, as `attest audit list` prints it")
    trail = _run(_show(turn_id))
    if trail is None:
        click.echo(_plain(f"There is no turn {turn_id}."), err=True)
        sys.exit(NOT_FOUND)
    if as_json:
        _print_json(trail)
    else:
        click.echo("\n".join(_described(trail)))


@audit.command("records")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([kind.value for kind in Kind]), help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most so many.")
def list_records(kinds: tuple[str, ...], limit: int) -> None:
    """Print records of any kind, oldest first, as JSON lines, without content."""
    _run(_records(kinds, limit))


async def _list(which: TurnFilter) -> tuple[TurnSummary, ...]:
    async with _log() as log:
        turns = await log.turns(which)
        asked = {name: value for name, value in msgspec.to_builtins(which).items() if value}
        await log.append(_access(Kind.ACCESS_SEARCH, **asked, results=len(turns)))
        return turns


async def _show(turn_id: str) -> TurnTrail | None:
    async with _log() as log:
        trail = await log.turn(turn_id)
        record = _access(Kind.ACCESS_READ, found=trail is not None)
        await log.append(msgspec.structs.replace(record, turn_id=turn_id))
        return trail


async def _records(kinds: tuple[str, ...], limit: int) -> None:
    async with _log() as log:
        await log.append(_access(Kind.ACCESS_SEARCH, kinds=",".join(kinds), limit=limit))
        async for entry in log.entries(kinds, limit):
            click.echo(_json(entry))


def _access(kind: Kind, **detail: str | float | bool) -> Entry:
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return Entry(kind=kind, at=datetime.now(UTC), subject=f"cli:{name}", surface="cli", detail=detail)


@asynccontextmanager
async def _log() -> AsyncIterator[SqlAuditLog]:
    chosen = settings.load()
    engine = make_engine(chosen.database)
    try:
        key = FileMasterKey.load(chosen.master_key_path)
        async with SqlAuditLog(engine, key) as log:
            yield log
    finally:
        await engine.dispose()


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        return asyncio.run(work)
    except (AuditUnavailableError, AuditIntegrityError, KeyFileError, settings.SettingsError) as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)


def _print_json(value: object) -> None:
    click.echo(_json(value, indent=2))


def _json(value: object, indent: int | None = None) -> str:
    plain = msgspec.to_builtins(value)
    written = json.dumps(plain, ensure_ascii=False, indent=indent)
    try:
        written.encode()
    except UnicodeEncodeError:  # a lone surrogate: only its escape can be printed
        return json.dumps(plain, indent=indent)
    return written


def _described(trail: TurnTrail) -> list[str]:
    lines = [f"Turn {trail.turn_id}", f"  at {_time(trail.at)} by {trail.subject} ({trail.name}), {trail.surface}"]
    lines.append(f"  verdict {trail.verdict}, {trail.closing_kind or 'still running'} {trail.reason}")
    lines.append("Context sent to the model:")
    lines += [f"  [{content.role}] {content.text}" for content in trail.dialogue] or ["  (nothing was sent)"]
    for name in ("message", "generated", "withheld", "delivered"):
        lines += [f"{name.capitalize()}:", f"  {getattr(trail, name) or '(none)'}"]
    lines += [f"Comment: {content.text}" for content in trail.comments]
    lines.append("Records:")
    for entry in trail.records:
        lines.append(f"  {_time(entry.at)}  {entry.kind.value:16}  {entry.verdict:8}  {entry.entry_id}")
        lines += [f"    {stage.stage}: {stage.status}, {stage.characters} characters" for stage in entry.stages]
        lines += [
            f"    {one.where} {one.start}-{one.end} {one.rule} {one.score} → {one.action}" for one in entry.findings
        ]
    return [_plain(line) for line in lines]


def _plain(text: str) -> str:
    """Return text that cannot drive the terminal: control and direction characters are written as escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
