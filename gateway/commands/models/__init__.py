"""`attest models`: the versions of a model, and which of them answer whom."""

import click

from gateway.commands.lazy import LazyGroup

COMMANDS = {
    "list": "gateway.commands.models.read:list_versions",
    "add": "inference.adding:add",
    "activate": "gateway.commands.models.change:activate",
    "rollback": "gateway.commands.models.change:rollback",
    "canary": "gateway.commands.models.change:canary",
    "mirror": "gateway.commands.models.change:mirror",
    "remove": "gateway.commands.models.remove:remove",
}
"""In the order in which the help names them."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def models() -> None:
    """Versions of a model. Every change of who answers is a `model.activated` record before it is carried out.

    Exit codes: 0 done, 1 there is no such version, or it makes no sense now, 2 wrong use, 3 the registry or the audit
    log cannot be used, 4 recorded and set, but the inference tier does not answer so yet.
    """
