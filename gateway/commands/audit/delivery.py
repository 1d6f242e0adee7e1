"""`attest audit bootstrap | dead-letters | redeliver`: what Elasticsearch needs, and what it did not take."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from audit.elastic.bootstrap import Bootstrap, BootstrapError, State, Step
from audit.elastic.client import ElasticSettingsError
from audit.elastic.families import kept_from, months_between, next_month
from audit.elastic.kibana import KibanaError, import_objects, ndjson
from audit.elastic.roles import roles_file
from audit.outbox import DeadLetter, Outbox
from audit.rows import microseconds
from gateway.commands.audit.common import (
    FAILED,
    Database,
    Moment,
    opened_database,
    plain,
    print_json,
    run,
    utc,
)
from gateway.delivery import Job, elasticsearch_access, elasticsearch_client

_LONGEST_LIST = 10_000
_FILE = click.Path(dir_okay=False, path_type=Path)
_FAILURES = (BootstrapError, ElasticSettingsError, KibanaError)


@click.command("bootstrap")
@click.option("--months", type=click.IntRange(1, 24), default=3, show_default=True, help="Indices for months ahead.")
@click.option("--every", type=click.IntRange(1, 720), default=None, help="Stay, and look again after so many hours.")
@click.option("--roles-file", "roles_to", type=_FILE, help="Only write the roles, as roles.yml holds them.")
@click.option("--kibana-file", "kibana_to", type=_FILE, help="Only write Kibana's objects, as NDJSON.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of steps.")
def bootstrap(months: int, every: int | None, roles_to: Path | None, kibana_to: Path | None, as_json: bool) -> None:
    """Prepare Elasticsearch and Kibana: policy, templates, indices, roles, dashboards. Run it as often as you like.

    Records of a month whose index had to be made anew are delivered again, unless ATTEST_ELASTICSEARCH_KEEP_DAYS have
    passed since its end. Exit codes: 0 all is there, 3 something is missing and could not be made.
    """
    if roles_to or kibana_to:
        _write(roles_to, kibana_to)
        return
    while True:
        steps = run(_prepare(months))
        if as_json:
            print_json(steps)
        else:
            for step in steps:
                click.echo(plain(f"{step.state.value:8} {step.what} {step.name}  {step.detail}".rstrip()))
        if every is None:
            sys.exit(FAILED if any(step.state is State.REFUSED for step in steps) else 0)
        run(asyncio.sleep(every * 3600))


@click.group("dead-letters")
def dead_letters() -> None:
    """See and retry the records that Elasticsearch refused."""


@dead_letters.command("list")
@click.option("--limit", type=click.IntRange(1, _LONGEST_LIST), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_dead_letters(limit: int, as_json: bool) -> None:
    """List them, oldest record first: why, how often it was tried, since when it lies."""
    letters = run(_dead_letters(limit))
    if as_json:
        print_json(letters)
        return
    for one in letters:
        since = utc(datetime.fromtimestamp(one.dead_us / 1e6, UTC))
        click.echo(plain(f"{since}  {one.entry_id}  #{one.leaf_index}  {one.kind}  {one.attempts} tries  {one.reason}"))
    click.echo(f"{len(letters)} dead letters", err=True)


@dead_letters.command("retry")
@click.argument("entries", metavar="ENTRY...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
def retry_dead_letters(entries: tuple[str, ...], everything: bool) -> None:
    """Deliver some of them once more, once the cause is mended."""
    if bool(entries) == everything:
        raise click.UsageError("name ENTRY ids as `dead-letters list` prints them, or give --all")
    click.echo(f"{run(_retry(entries))} dead letters will be tried again")


@click.command("redeliver")
@click.option("--since", type=Moment(), required=True, help="Records from this time or age on.")
@click.option("--until", type=Moment(), default=None, help="Before this time or age; default: now.")
def redeliver(since: datetime, until: datetime | None) -> None:
    """Queue records for delivery again, as after the loss of an index. What is there already is not made twice."""
    count = run(_redeliver(since, until or datetime.now(UTC)))
    click.echo(f"{count} records are queued again")


async def _prepare(months: int) -> tuple[Step, ...]:
    async with opened_database() as parts:
        try:
            return await _everything(parts, months)
        except _FAILURES as error:
            click.echo(str(error), err=True)
            sys.exit(FAILED)


async def _everything(parts: Database, months: int) -> tuple[Step, ...]:
    outbox, chosen = Outbox(parts.engine), parts.settings
    since = kept_from(datetime.now(UTC), timedelta(days=chosen.elasticsearch_keep_days))
    client = elasticsearch_client(chosen, Job.BOOTSTRAP)
    try:
        prepared = await Bootstrap(client, chosen.elasticsearch_keep_days).prepare(
            _months(await outbox.times(since), months)
        )
    finally:
        await client.close()
    steps = [*prepared, *await _queued_again(outbox, prepared, since)]
    if chosen.kibana_url is not None:
        server, identity = elasticsearch_access(chosen, Job.BOOTSTRAP)
        count = await import_objects(str(chosen.kibana_url), identity, server.ca_file)
        steps.append(Step("Kibana objects", str(chosen.kibana_url), State.UPDATED, f"{count} imported"))
    return tuple(steps)


def _months(times: tuple[datetime, ...], ahead: int) -> list[datetime]:
    """Return the first moment of every month that must have its indices: those of records, and some to come."""
    last = datetime.now(UTC)
    for _ in range(ahead):
        last = next_month(last)
    found = {month for at in times for month in months_between(at, at)}
    return sorted(found | set(months_between(datetime.now(UTC), last)))


async def _queued_again(outbox: Outbox, steps: tuple[Step, ...], since: datetime) -> list[Step]:
    """Queue the records of months whose index was made now: it may have been lost. New records are queued already.

    The index of a month before `since` was dropped, or never was: it was made for what waits, and nothing else.
    """
    made = {step.name.rpartition("-")[2] for step in steps if step.what == "index" and step.state is State.MADE}
    queued = []
    for name in sorted(made):
        month = datetime.strptime(name, "%Y.%m").replace(tzinfo=UTC)
        bounds = microseconds(month), microseconds(next_month(month))
        if month < since:  # a lifecycle policy drops it again within minutes: what waits is tried at once
            count, detail = await outbox.hasten(*bounds), "delivered late, the month is over"
        else:
            count, detail = await outbox.put_back(*bounds), "queued again"
        if count:
            queued.append(Step("records", name, State.UPDATED, f"{count} {detail}"))
    return queued


def _write(roles: Path | None, kibana: Path | None) -> None:
    for path, text in ((roles, roles_file()), (kibana, ndjson())):
        if path is not None:
            path.write_text(text)
            click.echo(f"{path} is written", err=True)


async def _dead_letters(limit: int) -> tuple[DeadLetter, ...]:
    async with opened_database() as parts:
        return await Outbox(parts.engine).dead_letters(limit)


async def _retry(entries: tuple[str, ...]) -> int:
    async with opened_database() as parts:
        return await Outbox(parts.engine).retry(entries)


async def _redeliver(since: datetime, until: datetime) -> int:
    async with opened_database() as parts:
        return await Outbox(parts.engine).put_back(microseconds(since), microseconds(until))
