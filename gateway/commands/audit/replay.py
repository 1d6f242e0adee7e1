"""`attest audit replay TURN`: judge a turn again with the policy and the classifier of then."""

import sys

import click
import msgspec

from audit.readers import Readers
from audit.record import Kind
from gateway.commands.audit.common import NOT_FOUND, access, opened, plain, print_json, run
from gateway.inquiry.replays import Replays
from gateway.rejudging import TOLD, Outcome, Rejudged, StageAgain

DIFFERENT, CANNOT = 5, 6
"""Exit codes: a stage says something else now; it cannot be judged as it was then."""
_LONGEST_ID = 200
_CODES = {Outcome.SAME: 0, Outcome.DIFFERENT: DIFFERENT, Outcome.CANNOT: CANNOT}


@click.command()
@click.argument("turn_id", metavar="TURN")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def replay(turn_id: str, *, as_json: bool) -> None:
    """Judge TURN again with the recorded policy and classifier; say for each stage whether it says the same.

    No model is asked. Exit codes: 0 same, 5 different, 6 cannot (other policy, classifier or rules; texts erased).
    """
    if len(turn_id) > _LONGEST_ID:
        raise click.UsageError("TURN is the id of a turn, as `attest audit list` prints it")
    done = run(_replay(turn_id))
    if done is None:
        click.echo(plain(f"There is no turn {turn_id}."), err=True)
        sys.exit(NOT_FOUND)
    if as_json:
        print_json(done)
    else:
        for stage in done.stages:
            click.echo(plain(f"{stage.stage:24} {stage.outcome.value:10} {_said(stage)}".rstrip()))
        click.echo(plain(f"{done.turn_id}: {done.outcome.value}{f' ({TOLD[done.why]})' if done.why else ''}"))
    sys.exit(_CODES[done.outcome])


def _said(stage: StageAgain) -> str:
    return f"{stage.then} → {stage.now}" if stage.now else TOLD[stage.why] if stage.why else ""


async def _replay(turn_id: str) -> Rejudged | None:
    async with opened() as parts:
        trail = await parts.log.turn(turn_id)
        replays = Replays(parts.log, Readers(parts.engine, parts.master_key))
        done = await replays.of(trail) if trail is not None else None
        about = (
            {"replay": done.outcome.value, "of_subject": trail.subject}
            if done is not None and trail is not None
            else {}
        )
        record = access(Kind.ACCESS_READ, found=done is not None, content=False, **about)
        await parts.log.append(msgspec.structs.replace(record, turn_id=turn_id))
        return done
