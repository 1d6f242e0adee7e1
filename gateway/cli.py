"""The `attest` command: its subcommands are loaded only when called, so that the gateway never imports torch."""

from importlib import import_module

import click

from gateway import VERSION

COMMANDS = {
    "up": "gateway.commands.up:up",
    "serve": "gateway.commands.serve:serve",
    "migrate": "gateway.commands.migrate:migrate",
    "dev-token": "gateway.commands.dev_token:dev_token",
    "doctor": "gateway.commands.doctor:doctor",
    "inference": "inference.cli:inference",
    "safety": "safety.cli:safety",
    "audit": "gateway.commands.audit:audit",
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        """Name the subcommands in the order of the list above."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click gives it
        """Import and return one subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def main() -> None:
    """Attest: a governed chat gateway that proves what it did."""


if __name__ == "__main__":
    main()
