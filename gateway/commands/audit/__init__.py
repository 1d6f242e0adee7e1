"""`attest audit`: the log from the command line, one module for each group of commands."""

import click

from gateway.commands.lazy import LazyGroup

COMMANDS = {
    "list": "gateway.commands.audit.read:list_turns",
    "show": "gateway.commands.audit.read:show_turn",
    "records": "gateway.commands.audit.read:list_records",
    "export": "gateway.commands.audit.export:export",
    "checkpoint": "gateway.commands.audit.log:checkpoint",
    "prove": "gateway.commands.audit.log:prove",
    "fsck": "gateway.commands.audit.log:fsck",
    "keys": "gateway.commands.audit.log:keys",
    "verify": "gateway.commands.audit.verify:verify",
    "bootstrap": "gateway.commands.audit.delivery:bootstrap",
    "dead-letters": "gateway.commands.audit.delivery:dead_letters",
    "redeliver": "gateway.commands.audit.delivery:redeliver",
    "retention": "gateway.commands.audit.retention:retention",
    "hold": "gateway.commands.audit.hold:hold",
    "erase": "gateway.commands.audit.erase:erase",
    "approve": "gateway.commands.audit.approve:approve",
    "anchor": "gateway.commands.audit.anchor:anchor",
    "replay": "gateway.commands.audit.replay:replay",
}
"""In the order in which the help names them."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def audit() -> None:
    """Read, prove and keep the audit log. Whatever shows or takes records is itself recorded.

    Exit codes: 0 done, 1 not found, 2 wrong use, 3 the log cannot be read or was altered,
    4 refused, or waits for a hold or a second officer.
    """
