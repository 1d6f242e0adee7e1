"""`attest safety`: the safety layer's own commands, and the one that needs the audit log besides."""

import click

from gateway.commands.lazy import LazyGroup

COMMANDS = {
    "check": "safety.cli:check",
    "policy": "gateway.commands.policy:policy",
    "rules": "safety.cli:rules",
    "train": "safety.training.command:train",
    "specialise": "safety.training.command:specialise",
    "learn-wording": "safety.training.command:learn_wording",
    "eval": "safety.evaluation.command:evaluate",
    "samples": "gateway.commands.samples:samples",
    "dry-run": "gateway.commands.dry_run:dry_run",
}
"""In the order in which the help names them."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def safety() -> None:
    """Check texts, rules and policies; try a policy on the history; train and evaluate the classifier."""
