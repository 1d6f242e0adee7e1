"""`attest audit approve ask | list | grant | refuse`: the second pair of eyes."""

import click

from audit.approval import Action, Approval, Decision
from audit.erasure import Erasure
from audit.governing import moment
from audit.hold import check_case
from gateway.commands.audit.common import plain, print_json, utc
from gateway.commands.audit.keeping import carry, described, governed, say_waiting


@click.group()
def approve() -> None:
    """Decide what another officer asked for (ATTEST_AUDIT_FOUR_EYES). Nobody decides about their own request."""


@approve.command("ask")
@click.argument("case_number", metavar="CASE")
def ask(case_number: str) -> None:
    """Ask that you may read texts of turns for CASE; somebody else must grant it."""
    say_waiting(carry(_ask(case_number)))


@approve.command("list")
@click.option("--all", "decided", is_flag=True, help="Also what was decided or has expired.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_approvals(*, decided: bool, as_json: bool) -> None:
    """List what waits, oldest first."""
    approvals = carry(_list(decided=decided))
    if as_json:
        print_json(approvals)
        return
    for one in approvals:
        click.echo(_line(one))


@approve.command("grant")
@click.argument("approval_id", metavar="REQUEST")
def grant(approval_id: str) -> None:
    """Grant a request: what was asked for is done now."""
    approval, erasures = carry(_grant(approval_id))
    click.echo(_line(approval))
    for erasure in erasures:
        click.echo(described(erasure))


@approve.command("refuse")
@click.argument("approval_id", metavar="REQUEST")
def refuse(approval_id: str) -> None:
    """Refuse a request."""
    click.echo(_line(carry(_refuse(approval_id))))


async def _ask(case_number: str) -> Approval:
    check_case(case_number)
    async with governed() as with_:
        return await with_.governance.approvals.request(Action.CONTENT, {"case_number": case_number}, with_.officer)


async def _list(*, decided: bool) -> tuple[Approval, ...]:
    async with governed() as with_:
        approvals = await with_.governance.approvals.listed(decided=decided)
        await with_.looked("approvals", len(approvals))
        return approvals


async def _grant(approval_id: str) -> tuple[Approval, tuple[Erasure, ...]]:
    async with governed() as with_:
        return await with_.governance.grant(approval_id, with_.officer)


async def _refuse(approval_id: str) -> Approval:
    async with governed() as with_:
        return await with_.governance.approvals.decide(approval_id, Decision.REFUSED, with_.officer)


def _line(one: Approval) -> str:
    what = " ".join(f"{name}={value}" for name, value in one.arguments.items())
    state = f"{one.decision} by {one.decided_by}" if one.decision else f"waits until {utc(moment(one.expires_us))}"
    return plain(
        f"{one.approval_id}  {utc(moment(one.requested_us))}  {one.requested_by}  {one.action}  {what}  {state}"
    )
