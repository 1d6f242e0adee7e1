"""`attest audit anchor run | list`: checkpoints outside."""

import sys

import click

from audit.anchors.anchoring import Anchored
from audit.anchors.ports import AnchorError
from audit.governing import moment
from gateway.commands.audit.common import FAILED, plain, print_json, utc
from gateway.commands.audit.keeping import carry, governed


@click.group()
def anchor() -> None:
    """Copy checkpoints to places outside (ATTEST_ANCHOR_…), so that nobody can quietly put back an older database."""


@anchor.command("run")
@click.option("--json", "as_json", is_flag=True, help="Print an array of what was kept.")
def run_anchor(*, as_json: bool) -> None:
    """Copy the newest checkpoint to every place now; exit code 3 when one did not take it."""
    kept, errors = carry(_run())
    if as_json:
        print_json(kept)
    else:
        _print(kept)
    for error in errors:
        click.echo(plain(str(error)), err=True)
    sys.exit(FAILED if errors else 0)


@anchor.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_anchors(*, as_json: bool) -> None:
    """List the newest checkpoint that each place has."""
    anchors = carry(_list())
    if as_json:
        print_json(anchors)
    else:
        _print(anchors)


async def _run() -> tuple[tuple[Anchored, ...], tuple[AnchorError, ...]]:
    async with governed() as with_:
        return await with_.governance.anchoring.anchor(again=True)


async def _list() -> tuple[Anchored, ...]:
    async with governed() as with_:
        anchors = await with_.governance.anchoring.listed()
        await with_.looked("anchors", len(anchors))
        return anchors


def _print(anchors: tuple[Anchored, ...]) -> None:
    for one in anchors:
        click.echo(plain(f"{one.tree_size:>12}  {utc(moment(one.at_us))}  {one.place}  {one.receipt}"))
