"""`attest audit replay TURN`: judge a turn again with the policy and the classifier of then."""

import sys

import click
import msgspec

from audit.readers import Readers
from audit.record import Kind
from gateway.commands.audit.common import NOT_FOUND, Opened, access, opened, plain, print_json, run
from gateway.rejudging import Outcome, Rejudged, recorded_policy, rejudge
from safety.policy_shape import Policy

DIFFERENT, CANNOT = 5, 6
"""Exit codes: a stage says something else now; it cannot be judged as it was then."""
_LONGEST_ID = 200
_MOST = 1_000_000
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
            click.echo(f"{stage.stage:24} {stage.outcome.value:10} {stage.why}".rstrip())
        click.echo(plain(f"{done.turn_id}: {done.outcome.value}{f' ({done.why})' if done.why else ''}"))
    sys.exit(_CODES[done.outcome])


async def _replay(turn_id: str) -> Rejudged | None:
    async with opened() as parts:
        trail = await parts.log.turn(turn_id)
        done = None
        if trail is not None:
            digest = next((record.policy_hash for record in trail.records if record.policy_hash), "")
            done = await rejudge(trail, await _policy(parts, digest))
        detail = {"replay": done.outcome.value} if done is not None else {}
        record = access(Kind.ACCESS_READ, found=trail is not None, **detail)
        await parts.log.append(msgspec.structs.replace(record, turn_id=turn_id))
        return done


async def _policy(parts: Opened, digest: str) -> Policy | None:
    """Return the policy with this hash, from the newest record of its activation that can be read."""
    readers, found = Readers(parts.engine, parts.master_key), None
    async for entry in parts.log.entries((Kind.POLICY_ACTIVATED.value,), _MOST):
        if entry.policy_hash == digest and entry.commitments:
            for content in await readers.contents(entry.entry_id):
                found = recorded_policy(content.text, digest) or found
    return found
