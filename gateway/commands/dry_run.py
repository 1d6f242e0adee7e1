"""`attest safety dry-run`: a new policy on the turns of the last days, before it comes into force."""

from datetime import datetime
from pathlib import Path

import click

from audit.ports import TurnFilter
from audit.readers import MOST_LISTED, Readers
from audit.record import Kind
from gateway.commands.audit.common import Moment, access, opened, plain, print_json, run, utc
from gateway.replay import Replay, replay
from safety.compose import build_safety
from safety.pipeline import Pipeline


@click.command("dry-run")
@click.option("--policy", "policy_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--since", type=Moment(), default="30d", show_default=True, help="A time, or an age such as 7d.")
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=MOST_LISTED, show_default=True, help="Newest turns."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def dry_run(policy_file: Path, since: datetime, limit: int, as_json: bool) -> None:
    """List the turns whose verdict would be another under the policy in FILE; nothing changes but a record of this.

    Every question and answer since then is judged again, with the classifier that is in force now.
    """
    try:
        safety = build_safety(policy_file)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    result = run(_replay(safety, TurnFilter(since=since, limit=limit)))
    if as_json:
        print_json(result)
        return
    for one in result.changed:
        rules = ", ".join(one.rules)
        click.echo(plain(f"{utc(one.at)}  {one.turn_id}  {one.recorded} -> {one.now}  {one.subject}  {rules}"))
    click.echo(
        f"{len(result.changed)} of {result.turns} turns change ({result.stricter} stricter, {result.milder} milder);"
        f" {result.unjudged} cannot be judged again; {result.unreadable} can no longer be read",
        err=True,
    )


async def _replay(safety: Pipeline, which: TurnFilter) -> Replay:
    async with opened() as parts:
        turns = await parts.log.turns(which)
        detail = {"since": which.since.isoformat() if which.since else "", "policy": safety.policy_hash}
        await parts.log.append(access(Kind.ACCESS_SEARCH, **detail, results=len(turns), purpose="dry-run"))
        try:
            return await replay(Readers(parts.engine, parts.master_key), safety, turns)
        finally:
            await safety.close()
