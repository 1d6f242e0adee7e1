"""`attest audit retention run`: empty what is older than the retention time, and drop old months of Elasticsearch."""

import click
import msgspec

from audit.elastic.months import Months
from audit.record import Kind
from audit.retention import Pruned
from audit.sequencer import Sequencer
from gateway.commands.audit.common import access, print_json, utc
from gateway.commands.audit.keeping import carry, governed


@click.group()
def retention() -> None:
    """Keep records as long as ATTEST_AUDIT_RETENTION_DAYS says, and no longer."""


@retention.command("run")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be pruned.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def run_retention(*, dry: bool, as_json: bool) -> None:
    """Prune what is due, proven, delivered and not held; hashes stay, so every proof still verifies.

    Run it daily; a run that is stopped loses nothing, and the next one goes on.
    """
    done, months = carry(_run(dry=dry))
    if as_json:
        print_json({**msgspec.to_builtins(done), "months": months})
        return
    would = "would be pruned" if dry else "pruned"
    click.echo(f"{done.pruned} records before {utc(done.before)} {would}, in {done.ranges} ranges; {done.texts} texts")
    kept = {"held": done.held, "not delivered": done.undelivered, "not proven outside": done.unproven}
    for why, count in {**kept, "waiting for the rest of their turn": done.waiting}.items():
        if count:
            click.echo(f"{count} stay: {why}")
    _say_months(months, would)


def _say_months(months: Months, would: str) -> None:
    for name in months.dropped:
        click.echo(f"{name} {would.replace('pruned', 'dropped')}")
    stay = {"held": months.held, "not delivered": months.undelivered, "a lifecycle policy drops it": months.managed}
    for why, names in stay.items():
        for name in names:
            click.echo(f"{name} stays: {why}")


async def _run(*, dry: bool) -> tuple[Pruned, Months]:
    async with governed() as with_:
        if dry:
            await with_.parts.log.append(access(Kind.ACCESS_SEARCH, what="retention"))
        done, months = await with_.governance.prune(dry=dry)
        if done.pruned and not dry:  # the records of the pruning get their place at once: until then fsck would ask
            await Sequencer(with_.parts.engine, with_.parts.signing_keys).step()
        return done, months
