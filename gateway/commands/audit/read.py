"""`attest audit list | show | records`. Every use is itself a record, made before anything is printed."""

import sys
from typing import Any

import click
import msgspec

from audit.ports import TurnSummary, TurnTrail
from audit.readers import MOST_LISTED
from audit.record import Kind
from audit.search.ports import ALTERED, MOST_ON_A_PAGE
from audit.search.query import Order, TurnQuery
from audit.search.sql import SqlTurnSearch
from gateway.commands.audit.common import (
    FAILED,
    NOT_FOUND,
    access,
    opened,
    opened_log,
    plain,
    print_json,
    run,
    to_json,
    utc,
)
from gateway.commands.audit.filters import asked, check_granted, check_purpose, query_of, turn_filters
from gateway.commands.audit.keeping import carry

_LONGEST_ID = 200


@click.command("list")
@turn_filters
@click.option("--order", type=click.Choice([one.value for one in Order]), default="newest", show_default=True)
@click.option("--limit", type=click.IntRange(1, MOST_LISTED), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects (docs/audit-records.md).")
def list_turns(limit: int, purpose: str, order: str, *, as_json: bool, **given: Any) -> None:
    """List turns, newest first, without content."""
    query = query_of(given, order=Order(order))
    check_purpose(purpose, needed=bool(query.text))
    turns = carry(_list(query, limit, purpose))
    if as_json:
        print_json(turns)
    else:
        for turn in turns:
            ended = turn.closing_kind.removeprefix("turn.") or "running"
            click.echo(
                plain(f"{utc(turn.at)}  {turn.turn_id}  {turn.verdict:8}  {ended:11}  {turn.subject}  {turn.reason}")
            )
        click.echo(f"{len(turns)} turns", err=True)
    if any(turn.reason == ALTERED for turn in turns):
        click.echo("A record was altered: run attest audit fsck.", err=True)
        sys.exit(FAILED)


@click.command("show")
@click.argument("turn_id", metavar="TURN")
@click.option("--purpose", default="", help="Case number; needed where a second officer must grant it.")
@click.option("--json", "as_json", is_flag=True, help="Print one object (docs/audit-records.md).")
def show_turn(turn_id: str, purpose: str, *, as_json: bool) -> None:
    """Show one turn whole: its context, its texts and every record."""
    if len(turn_id) > _LONGEST_ID:
        raise click.UsageError("TURN is the id of a turn, as `attest audit list` prints it")
    check_purpose(purpose, needed=False)
    trail = carry(_show(turn_id, purpose))
    if trail is None:
        click.echo(plain(f"There is no turn {turn_id}."), err=True)
        sys.exit(NOT_FOUND)
    if as_json:
        print_json(trail)
    else:
        click.echo("\n".join(_described(trail)))


@click.command("records")
@click.option("--kind", "kinds", multiple=True, type=click.Choice([kind.value for kind in Kind]), help="Only these.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most so many.")
def list_records(kinds: tuple[str, ...], limit: int) -> None:
    """Print records of any kind, oldest first, as JSON lines, without content."""
    run(_records(kinds, limit))


async def _list(query: TurnQuery, limit: int, purpose: str) -> tuple[TurnSummary, ...]:
    async with opened() as parts:
        if query.text:
            await check_granted(parts, "list", purpose)
        search, found, after = SqlTurnSearch(parts.engine, parts.master_key), list[TurnSummary](), None
        while len(found) < limit:
            page = await search.page(query, after, min(MOST_ON_A_PAGE, limit - len(found)))
            found += page.turns
            after = page.reached
            if after is None:
                break
        await parts.log.append(asked(Kind.ACCESS_SEARCH, query, purpose, limit=limit, results=len(found)))
        return tuple(found)


async def _show(turn_id: str, purpose: str) -> TurnTrail | None:
    async with opened() as parts:
        await check_granted(parts, "show", purpose, turn_id)
        trail = await parts.log.turn(turn_id)
        about = {"purpose": purpose} if purpose else {}
        about |= {"of_subject": trail.subject} if trail is not None else {}
        record = access(Kind.ACCESS_READ, found=trail is not None, content=True, **about)
        await parts.log.append(msgspec.structs.replace(record, turn_id=turn_id))
        return trail


async def _records(kinds: tuple[str, ...], limit: int) -> None:
    async with opened_log() as log:
        await log.append(access(Kind.ACCESS_SEARCH, kinds=",".join(kinds), limit=limit))
        async for entry in log.entries(kinds, limit):
            click.echo(to_json(entry))


def _described(trail: TurnTrail) -> list[str]:
    lines = [f"Turn {trail.turn_id}", f"  at {utc(trail.at)} by {trail.subject} ({trail.name}), {trail.surface}"]
    lines.append(f"  verdict {trail.verdict}, {trail.closing_kind or 'still running'} {trail.reason}")
    lines.append("Context sent to the model:")
    lines += [f"  [{content.role}] {content.text}" for content in trail.dialogue] or ["  (nothing was sent)"]
    for name in ("message", "generated", "withheld", "delivered"):
        lines += [f"{name.capitalize()}:", f"  {getattr(trail, name) or '(none)'}"]
    lines += ["Mirrored:", f"  {trail.mirrored}"] if trail.mirrored else []
    lines += [f"Comment: {content.text}" for content in trail.comments]
    lines.append("Records:")
    for entry in trail.records:
        lines.append(f"  {utc(entry.at)}  {entry.kind.value:16}  {entry.verdict:8}  {entry.entry_id}")
        lines += [f"    {stage.stage}: {stage.status}, {stage.characters} characters" for stage in entry.stages]
        lines += [
            f"    {one.where} {one.start}-{one.end} {one.rule} {one.score} → {one.action}" for one in entry.findings
        ]
    return [plain(line) for line in lines]
