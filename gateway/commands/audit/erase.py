"""`attest audit erase`: make a person's texts unreadable for good."""

import click

from audit.approval import Approval
from audit.erasure import Erasure
from gateway.commands.audit.common import print_json
from gateway.commands.audit.keeping import carry, described, governed, say_waiting


@click.command()
@click.argument("subject", required=False)
@click.option("--case", "case_number", default="", help="Number of the case; needed with SUBJECT.")
@click.option("--pending", is_flag=True, help="Carry out what waits and is not held any more.")
@click.option("--reapply", is_flag=True, help="Apply the erasure ledger again, after a database was restored.")
@click.option("--list", "listing", is_flag=True, help="List every erasure that was asked for.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def erase(subject: str | None, *, case_number: str, pending: bool, reapply: bool, listing: bool, as_json: bool) -> None:
    """Destroy the keys of SUBJECT and remove the texts and conversations; records stay and verify.

    A legal hold stands against it: then it waits (exit code 4) and is done when the hold is released.
    """
    if sum((bool(subject), pending, reapply, listing)) != 1 or bool(subject) != bool(case_number):
        raise click.UsageError("Give SUBJECT with --case, or one of --pending, --reapply, --list.")
    if subject:
        done = carry(_erase(subject, case_number))
        if isinstance(done, Approval):
            say_waiting(done)
            return
        erasures: tuple[Erasure, ...] = (done,)
    else:
        erasures = carry(_list() if listing else _again(reapply=reapply))
    if as_json:
        print_json(erasures)
        return
    for erasure in erasures:
        click.echo(described(erasure))


async def _erase(subject: str, case_number: str) -> Erasure | Approval:
    async with governed() as with_:
        return await with_.governance.erase(subject, case_number, with_.officer)


async def _again(*, reapply: bool) -> tuple[Erasure, ...]:
    async with governed() as with_:
        erasures = with_.governance.erasures
        return await (erasures.reapply() if reapply else erasures.carry_out_pending())


async def _list() -> tuple[Erasure, ...]:
    async with governed() as with_:
        erasures = await with_.governance.erasures.listed()
        await with_.looked("erasures", len(erasures))
        return erasures
