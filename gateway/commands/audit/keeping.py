"""What the commands share that keep the log: the parts that govern it, who calls, and what waits or is refused."""

import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click
import msgspec

from audit.approval import Approval
from audit.erasure import Erasure, State
from audit.governing import GoverningError, moment
from audit.ledger import LedgerError
from audit.record import Kind
from gateway.commands.audit.common import FAILED, Opened, access, opened, plain, run, utc
from gateway.governance import Governance, make_governance

_T = TypeVar("_T")
WAITS = 4
"""Exit code: refused, or not done yet: a hold stands against it, or a second officer must approve it first."""


class Governed(msgspec.Struct, frozen=True):
    """What a command works with."""

    parts: Opened
    governance: Governance
    officer: str
    """Who calls: `cli:` and the operating system's user."""

    async def looked(self, what: str, results: int) -> None:
        """Record that somebody listed something."""
        await self.parts.log.append(access(Kind.ACCESS_SEARCH, what=what, results=results))


@asynccontextmanager
async def governed() -> AsyncIterator[Governed]:
    """Open the log and the parts that govern it."""
    async with opened() as parts:
        governance = make_governance(parts.settings, parts.engine)
        try:
            yield Governed(parts, governance, access(Kind.ACCESS_SEARCH).subject)
        finally:
            await governance.close()


def carry(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work; what is refused ends the process with a message and `WAITS`."""
    try:
        return run(work)
    except LedgerError as error:
        click.echo(plain(str(error)), err=True)
        sys.exit(FAILED)
    except GoverningError as error:
        click.echo(plain(str(error)), err=True)
        sys.exit(WAITS)


def say_waiting(approval: Approval) -> None:
    """Say that a second officer must approve, and end with `WAITS`."""
    until = utc(moment(approval.expires_us))
    click.echo(f"{approval.approval_id}")
    click.echo(
        f"Somebody else must grant it until {until}: attest audit approve grant {approval.approval_id}", err=True
    )
    sys.exit(WAITS)


def described(erasure: Erasure) -> str:
    """Return an erasure as one line."""
    asked = utc(moment(erasure.requested_us))
    done = utc(moment(erasure.done_us)) if erasure.done_us is not None else "-"
    states = {State.DESTROYED.value: "destroyed, what nobody can read is being removed"}
    state = states.get(erasure.state, erasure.state)
    return plain(f"{erasure.erasure_id}  {asked}  {done:20}  {erasure.case_number}  {erasure.subject}  {state}")
