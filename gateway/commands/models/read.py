"""`attest models list`."""

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from gateway import settings
from gateway.commands.audit.common import plain, print_json
from gateway.commands.models.common import FAILED, registry_option, served
from inference.registry import Registry
from inference.versions import Canary, Mirror, RegistryError, State, Version


class Listed(msgspec.Struct, frozen=True):
    """A version as it is printed."""

    id: str
    name: str
    stage: str
    revision: str
    precision: str
    manifest: str
    bytes: int
    added: str
    serving: bool | None
    """Whether the inference tier has it open; null when the tier does not answer."""


class Listing(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    model: str
    active: str
    canary: Canary | None
    mirror: Mirror | None
    previous: tuple[str, ...]
    """What can be rolled back to, newest first."""
    versions: tuple[Listed, ...]


@click.command("list")
@registry_option
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def list_versions(registry: Path, *, as_json: bool) -> None:
    """List the versions, what each is used for, and whether the inference tier has it open."""
    try:
        state = Registry(registry).read()
        models = asyncio.run(served(settings.load()))
    except (RegistryError, settings.SettingsError) as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    open_ids = None if models is None else {model.name for model in models}
    found = listing(state, open_ids)
    if as_json:
        print_json(found)
        return
    print_listing(state, found)


def print_listing(state: State, found: Listing) -> None:
    """Print one line for each version: what it is for, precision, size, whether the tier has it open."""
    for one in found.versions:
        serving = {True: "open", False: "", None: "?"}[one.serving]
        line = f"{one.id:<40}  {_stage(state, one):<24}  {one.precision:<9}  {one.bytes / 2**20:>9,.0f} MiB  {serving}"
        click.echo(plain(line.rstrip()))


def listing(state: State, open_ids: set[str] | None) -> Listing:
    """Return what is printed of a registry."""
    return Listing(
        model=state.model,
        active=state.active,
        canary=state.canary,
        mirror=state.mirror,
        previous=state.previous,
        versions=tuple(_listed(state, version, open_ids) for version in state.versions),
    )


def _listed(state: State, version: Version, open_ids: set[str] | None) -> Listed:
    return Listed(
        id=version.id,
        name=version.name,
        stage=state.stage(version).value,
        revision=version.revision,
        precision=version.precision,
        manifest=version.manifest,
        bytes=version.bytes,
        added=version.added.isoformat(),
        serving=None if open_ids is None else version.id in open_ids,
    )


def _stage(state: State, one: Listed) -> str:
    if state.canary is not None and one.id == state.canary.version:
        whom = [f"{state.canary.percent} %"] if state.canary.percent else []
        return f"{one.stage} {', '.join([*whom, *state.canary.groups])}"
    if state.mirror is not None and one.id == state.mirror.version:
        return f"{one.stage} {state.mirror.percent} %"
    return one.stage
