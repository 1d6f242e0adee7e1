"""The `attest` command: its subcommands are loaded only when called, so that the gateway never imports torch."""

import click

from gateway import VERSION
from gateway.commands.lazy import LazyGroup

COMMANDS = {
    "up": "gateway.commands.up:up",
    "serve": "gateway.commands.serve:serve",
    "migrate": "gateway.commands.migrate:migrate",
    "dev-token": "gateway.commands.dev_token:dev_token",
    "doctor": "gateway.commands.doctor:doctor",
    "api-keys": "gateway.commands.api_keys:api_keys",
    "inference": "inference.cli:inference",
    "models": "gateway.commands.models:models",
    "safety": "gateway.commands.safety:safety",
    "audit": "gateway.commands.audit:audit",
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def main() -> None:
    """Attest: a governed chat gateway that proves what it did."""


if __name__ == "__main__":
    main()
