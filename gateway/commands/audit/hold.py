"""`attest audit hold place | release | list`."""

from typing import Any, TextIO

import click

from audit.approval import Approval
from audit.erasure import Erasure
from audit.governing import moment
from audit.hold import MOST_TURNS, Hold, HoldOrder
from gateway.commands.audit.common import Moment, plain, print_json, utc
from gateway.commands.audit.keeping import carry, described, governed, say_waiting

_LONGEST_FILE = MOST_TURNS * 100
"""Characters of a file of ids."""


@click.group()
def hold() -> None:
    """Legal holds: what one covers is neither pruned nor erased until it is released."""


@hold.command("place")
@click.option("--case", "case_number", required=True, help="Number of the case.")
@click.option("--reason", required=True, help="Why, in a few words; it is kept.")
@click.option("--subject", default="", help="Only this person (the provider's subject).")
@click.option("--conversation", "conversation_id", default="", help="Only this conversation.")
@click.option("--since", type=Moment(), default=None, help="Only from this time or age on.")
@click.option("--until", type=Moment(), default=None, help="Only before this time or age.")
@click.option("--group", default="", help="Only turns of people who then had this group.")
@click.option("--verdict", default="", help="Only turns with this verdict (allow, redact, block, refused ...).")
@click.option("--category", default="", help="Only turns with a finding of this category.")
@click.option("--rule", default="", help="Only turns with a finding of this rule.")
@click.option("--model", default="", help="Only turns that asked for this model.")
@click.option("--turns", type=click.File(errors="strict"), default=None, help="Only the turns of a file, an id a line.")
@click.option("--everything", is_flag=True, help="Hold the whole log.")
def place(*, turns: TextIO | None, **given: Any) -> None:
    """Place a hold and print its id. What is given must all fit; at least one of them, or --everything."""
    order = HoldOrder(**given, turn_ids=_ids(turns) if turns is not None else ())
    click.echo(carry(_place(order)).hold_id)


@hold.command("release")
@click.argument("hold_id", metavar="HOLD")
def release(hold_id: str) -> None:
    """Release a hold; erasures that waited for it are carried out now."""
    released, erasures = carry(_release(hold_id))
    if isinstance(released, Approval):
        say_waiting(released)
    for erasure in erasures:
        click.echo(described(erasure))


@hold.command("list")
@click.option("--all", "released", is_flag=True, help="Also those that were released.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_holds(*, released: bool, as_json: bool) -> None:
    """List the holds in force, oldest first."""
    holds = carry(_list(released=released))
    if as_json:
        print_json(holds)
        return
    for one in holds:
        click.echo(_line(one))


def _ids(file: TextIO) -> tuple[str, ...]:
    """Read a file of ids. Raises `click.UsageError` where it has none: that would be a hold of something else."""
    try:
        read = file.read(_LONGEST_FILE + 1)
    except UnicodeDecodeError:
        raise click.UsageError("--turns: the file is no text") from None
    ids = tuple(read.split())
    if not ids or len(read) > _LONGEST_FILE:
        raise click.UsageError(f"--turns: the file must have 1 to {MOST_TURNS} ids, as `attest audit list` prints them")
    return ids


async def _place(order: HoldOrder) -> Hold:
    async with governed() as with_:
        return await with_.governance.holds.place(order, with_.officer)


async def _release(hold_id: str) -> tuple[Hold | Approval, tuple[Erasure, ...]]:
    async with governed() as with_:
        return await with_.governance.release(hold_id, with_.officer)


async def _list(*, released: bool) -> tuple[Hold, ...]:
    async with governed() as with_:
        holds = await with_.governance.holds.listed(released=released)
        await with_.looked("holds", len(holds))
        return holds


def _line(one: Hold) -> str:
    covers = [f"subject={one.subject}"] if one.subject else []
    covers += [f"conversation={one.conversation_id}"] if one.conversation_id else []
    covers += [f"since={utc(moment(one.since_us))}"] if one.since_us is not None else []
    covers += [f"until={utc(moment(one.until_us))}"] if one.until_us is not None else []
    covers += [f"{name}={value}" for name, value in (*one.facets, ("verdict", one.verdict)) if value]
    covers += [f"turns={one.turns}"] if one.turns else []
    state = (
        f"released {utc(moment(one.released_us))} by {one.released_by}" if one.released_us is not None else "in force"
    )
    what = " ".join(covers) or "everything"
    placed = utc(moment(one.placed_us))
    return plain(f"{one.hold_id}  {placed}  {one.placed_by}  {one.case_number}  {what}  {state}  {one.reason}")
