"""`attest audit list | show | records`. Every use is itself a record, made before anything is printed."""

import sys
from typing import Any

import click
import msgspec

from audit.ports import TurnFilter, TurnSummary, TurnTrail
from audit.readers import MOST_LISTED
from audit.record import Kind
from gateway.commands.audit.common import (
    NOT_FOUND,
    Moment,
    access,
    opened_log,
    plain,
    print_json,
    run,
    to_json,
    utc,
)

_LONGEST_ID = 200


@click.command("list")
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
    turns = run(_list(TurnFilter(**which)))
    if as_json:
        print_json(turns)
        return
    for turn in turns:
        ended = turn.closing_kind.removeprefix("turn.") or "running"
        click.echo(
            plain(f"{utc(turn.at)}  {turn.turn_id}  {turn.verdict:8}  {ended:11}  {turn.subject}  {turn.reason}")
        )
    click.echo(f"{len(turns)} turns", err=True)


@click.command("show")
@click.argument("turn_id", metavar="TURN")
@click.option("--json", "as_json", is_flag=True, help="Print one object (docs/audit-records.md).")
def show_turn(turn_id: str, as_json: bool) -> None:
    """Show one turn whole: its context, its texts and every record."""
    if len(turn_id) > _LONGEST_ID:
        raise click.UsageError("TURN is the id of a turn, as `attest audit list` prints it")
    trail = run(_show(turn_id))
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


async def _list(which: TurnFilter) -> tuple[TurnSummary, ...]:
    async with opened_log() as log:
        turns = await log.turns(which)
        asked = {name: value for name, value in msgspec.to_builtins(which).items() if value}
        await log.append(access(Kind.ACCESS_SEARCH, **asked, results=len(turns)))
        return turns


async def _show(turn_id: str) -> TurnTrail | None:
    async with opened_log() as log:
        trail = await log.turn(turn_id)
        record = access(Kind.ACCESS_READ, found=trail is not None)
        await log.append(msgspec.structs.replace(record, turn_id=turn_id))
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
    lines += [f"Comment: {content.text}" for content in trail.comments]
    lines.append("Records:")
    for entry in trail.records:
        lines.append(f"  {utc(entry.at)}  {entry.kind.value:16}  {entry.verdict:8}  {entry.entry_id}")
        lines += [f"    {stage.stage}: {stage.status}, {stage.characters} characters" for stage in entry.stages]
        lines += [
            f"    {one.where} {one.start}-{one.end} {one.rule} {one.score} → {one.action}" for one in entry.findings
        ]
    return [plain(line) for line in lines]
