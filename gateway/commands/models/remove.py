"""`attest models remove`: a version that is not in use leaves the registry, its weights with it. First the record."""

import sys
from pathlib import Path

import click
from msgspec.structs import replace

from audit.record import Kind
from gateway.commands.audit.common import access, opened, print_json, run
from gateway.commands.models.common import FAILED, REFUSED, registry_option
from gateway.commands.models.read import listing
from gateway.model_activation import activation, offer_of_state
from inference import versions
from inference.registry import Registry, RegistryUnusableError
from inference.versions import RegistryError, State


@click.command()
@click.argument("version")
@registry_option
@click.option("--json", "as_json", is_flag=True, help="Print the registry afterwards as one object.")
def remove(version: str, registry: Path, *, as_json: bool) -> None:
    """Delete a version that is not in use and cannot be rolled back to."""
    place = Registry(registry)
    try:
        place.read()
    except RegistryError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)
    try:
        state = run(_removed(place, version))
    except RegistryError as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED if isinstance(error, RegistryUnusableError) else REFUSED)
    if as_json:
        print_json(listing(state, None))


async def _removed(registry: Registry, wanted: str) -> State:
    """Record the removal and carry it out. Raises `RegistryError` before anything is recorded."""
    async with opened() as parts:
        with registry.locked() as write:
            before = registry.read()
            gone = before.find(wanted)
            state = versions.removed(before, wanted)
            who, revision = access(Kind.MODEL_ACTIVATED), before.find(before.active).revision
            entry = activation(offer_of_state(state), "remove", who.subject, revision, who.surface)
            await parts.log.append(replace(entry, detail=entry.detail | {"removed": gone.revision}))
            write(state)
            registry.discard(gone)
    return state
