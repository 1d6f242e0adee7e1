"""`attest migrate`: bring the database to the newest revision, or to a named one."""

import json
import sys

import click

from gateway import settings
from migrations import run

FAILED = 3


@click.command()
@click.option("--to", "revision", default="head", show_default=True, help="Revision to go to.")
@click.option("--down", is_flag=True, help="Undo the steps after --to instead (`base` undoes all, WITH ALL DATA).")
@click.option("--json", "as_json", is_flag=True, help="Print {before, after, head} as JSON.")
def migrate(revision: str, down: bool, as_json: bool) -> None:
    """Bring the database up to date; safe to call at any time and from several processes.

    Exit codes: 0 done, 2 wrong use, 3 the database cannot be reached or changed.
    """
    if down and revision == "head":
        raise click.UsageError("--down needs --to REVISION")
    try:
        url = settings.load().database
        before = run.current(url)
        after = run.downgrade(url, revision) if down else run.upgrade(url, revision)
    except (settings.SettingsError, run.MigrationError) as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    if as_json:
        click.echo(json.dumps({"before": before, "after": after, "head": run.head()}))
    else:
        click.echo(f"Database at {after or 'base'}" + ("" if after != before else ", nothing to do"))
