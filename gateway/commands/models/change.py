"""`attest models activate | rollback | canary | mirror`: who answers whom. First the record, then the registry."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
from msgspec.structs import replace

from audit.record import Kind
from gateway.commands.audit.common import access, opened, print_json, run
from gateway.commands.models.common import FAILED, NOT_YET, REFUSED, comes_true, registry_option, served
from gateway.commands.models.read import listing, print_listing
from gateway.model_activation import activation, offer_of_state
from inference import versions
from inference.registry import Registry, RegistryUnusableError
from inference.versions import RegistryError, Stage, State

Change = Callable[[State], State]

json_option = click.option("--json", "as_json", is_flag=True, help="Print the registry afterwards as one object.")
wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 3600),
    default=60.0,
    show_default=True,
    help="Seconds to wait until the inference tier answers so; 0 does not wait.",
)


@click.command()
@click.argument("version")
@registry_option
@wait_option
@json_option
def activate(version: str, registry: Path, *, wait_s: float, as_json: bool) -> None:
    """Let a version answer everybody. Running answers end with the version that began them."""
    _carry_out("activate", Registry(registry), lambda state: versions.activated(state, version), wait_s, as_json)


@click.command()
@click.option("--to", "version", default="", help="Which of the last three active versions; default: the last.")
@registry_option
@wait_option
@json_option
def rollback(version: str, registry: Path, *, wait_s: float, as_json: bool) -> None:
    """Let the version answer that answered before, and end canary and mirror."""

    def change(state: State) -> State:
        return replace(versions.rolled_back(state, version), canary=None, mirror=None)

    _carry_out("rollback", Registry(registry), change, wait_s, as_json)


@click.command()
@click.argument("version", default="")
@click.option("--percent", type=click.IntRange(0, 100), default=0, help="Share of the people, always the same ones.")
@click.option("--group", "groups", multiple=True, help="Everybody in this group; may be given several times.")
@click.option("--end", is_flag=True, help="End the canary: the active version answers everybody again.")
@registry_option
@wait_option
@json_option
def canary(
    version: str, registry: Path, *, percent: int, groups: tuple[str, ...], end: bool, wait_s: float, as_json: bool
) -> None:
    """Let a version answer some of the people."""
    _one_of(version, end=end)
    if end:
        _carry_out("canary_end", Registry(registry), lambda state: versions.ended(state, Stage.CANARY), wait_s, as_json)
    else:
        change: Change = lambda state: versions.with_canary(state, version, percent, groups)  # noqa: E731
        _carry_out("canary", Registry(registry), change, wait_s, as_json)


@click.command()
@click.argument("version", default="")
@click.option("--percent", type=click.IntRange(1, 100), default=100, show_default=True, help="Share of the turns.")
@click.option("--end", is_flag=True, help="End the mirroring.")
@registry_option
@wait_option
@json_option
def mirror(version: str, registry: Path, *, percent: int, end: bool, wait_s: float, as_json: bool) -> None:
    """Let a version answer turns a second time: examined and recorded, shown to nobody."""
    _one_of(version, end=end)
    if end:
        _carry_out("mirror_end", Registry(registry), lambda state: versions.ended(state, Stage.MIRROR), wait_s, as_json)
    else:
        change: Change = lambda state: versions.with_mirror(state, version, percent)  # noqa: E731
        _carry_out("mirror", Registry(registry), change, wait_s, as_json)


def _one_of(version: str, *, end: bool) -> None:
    if bool(version) == end:
        raise click.UsageError("name a version, or --end")


def _carry_out(action: str, registry: Registry, change: Change, wait_s: float, as_json: bool) -> None:
    try:
        registry.read()
    except RegistryError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    try:
        state, open_ids, true = run(_carried_out(action, registry, change, wait_s))
    except RegistryError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED if isinstance(error, RegistryUnusableError) else REFUSED)
    found = listing(state, open_ids)
    if as_json:
        print_json(found)
    else:
        print_listing(state, found)
    if not true:
        click.echo("Set and recorded, but the inference tier does not answer so yet; its log says why.", err=True)
        sys.exit(NOT_YET)


async def _carried_out(
    action: str, registry: Registry, change: Change, wait_s: float
) -> tuple[State, set[str] | None, bool]:
    """Record the change and make it. Raises `RegistryError` before anything is recorded."""
    async with opened() as parts:
        with registry.locked() as write:
            before = registry.read()
            state = change(before)
            offer = offer_of_state(state)
            previous = before.find(before.active).revision if before.active else ""
            who = access(Kind.MODEL_ACTIVATED)
            await parts.log.append(activation(offer, action, who.subject, previous, who.surface))
            write(state)
        true = wait_s == 0 or await comes_true(parts.settings, offer, wait_s)
        models = await served(parts.settings)
    return state, None if models is None else {model.name for model in models}, true
