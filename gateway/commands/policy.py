"""`attest safety policy`: check a file, propose it as a version, look at versions, ask for their activation."""

from pathlib import Path

import click
import msgspec

from audit.approval import Approval
from audit.governing import GoverningError, UnknownError, moment, now_us
from gateway.commands.audit.common import plain, print_json, utc
from gateway.commands.audit.keeping import Governed, carry, governed, say_waiting
from gateway.policies.changes import Change, changes
from gateway.policies.gateways import GatewayStanding, gateways, standings
from gateway.policies.in_force import policy_in_force
from gateway.policies.versions import Activation, Version
from safety.classifier.manifest import SHIPPED, load
from safety.cli import policy as check_file
from safety.parts import recommended
from safety.policy import PolicyError, complete, parse_policy


@click.group()
def policy() -> None:
    """Check a policy file; propose, compare and activate versions. Activation needs a second person."""


policy.add_command(check_file, "check")


class VersionLine(msgspec.Struct, frozen=True):
    """A version as it is listed."""

    version: Version
    state: str
    """`in_force`, `was_in_force` or `candidate`."""


@policy.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_versions(*, as_json: bool) -> None:
    """List the versions, newest first, and which one two people put in force."""
    lines = carry(_list())
    if as_json:
        print_json(lines)
        return
    for one in lines:
        version = one.version
        about = f"{utc(moment(version.added_us))}  {version.added_by}  {version.title}  {version.policy_hash[:12]}"
        click.echo(plain(f"{version.version_id}  {about}  {one.state}  {version.note}"))


@policy.command("show")
@click.argument("version_id", metavar="VERSION")
def show(version_id: str) -> None:
    """Print the text of a version."""
    click.echo(carry(_version(version_id)).text, nl=False)


@policy.command("diff")
@click.argument("version_id", metavar="VERSION")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def diff(version_id: str, *, as_json: bool) -> None:
    """Say, field by field, what a version would change in what is in force."""
    found = carry(_diff(version_id))
    if as_json:
        print_json(found)
        return
    for one in found:
        click.echo(plain(f"{one.field}: {one.before or '-'} -> {one.after or '-'}  {one.way}".rstrip()))


@policy.command("propose")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--note", default="", help="Why; stands in the record.")
def propose(file: Path, note: str) -> None:
    """Add FILE as a candidate, or name everything that is to be mended; print the version's id."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from None
    try:
        click.echo(carry(_propose(text, note)).version_id)
    except PolicyError as error:
        raise click.ClickException("\n".join(plain(str(one)) for one in error.problems)) from None


@policy.command("activate")
@click.argument("version_id", metavar="VERSION")
def activate(version_id: str) -> None:
    """Ask for a second person to put a version in force; an older version rolls back."""
    say_waiting(carry(_activate(version_id)))


@policy.command("gateways")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_gateways(*, as_json: bool) -> None:
    """List the gateways: what each judges by as it said last, and whether that is what is in force."""
    found = carry(_gateways())
    if as_json:
        print_json(found)
        return
    for one in found:
        of = one.gateway
        about = f"{of.policy_hash[:12]}  activation {of.ordinal}  {one.reach.value}  {of.trouble}"
        click.echo(plain(f"{utc(moment(of.seen_us))}  {of.name}  {about}".rstrip()))


async def _list() -> tuple[VersionLine, ...]:
    async with governed() as with_:
        versions = await with_.governance.versions.listed()
        activations = await with_.governance.versions.activations()
        await with_.looked("policy_versions", len(versions))
    return tuple(VersionLine(one, _state(one, activations)) for one in versions)


async def _gateways() -> tuple[GatewayStanding, ...]:
    async with governed() as with_:
        now = await with_.governance.versions.in_force()
        told = await gateways(with_.governance.governor)
        await with_.looked("policy_gateways", len(told))
    return standings(told, now.ordinal if now else 0, now_us())


def _state(version: Version, activations: tuple[Activation, ...]) -> str:
    if activations and activations[0].version_id == version.version_id:
        return "in_force"
    return "was_in_force" if any(one.version_id == version.version_id for one in activations) else "candidate"


async def _version(version_id: str) -> Version:
    async with governed() as with_:
        return await _found(with_, version_id)


async def _found(with_: Governed, version_id: str) -> Version:
    version = await with_.governance.versions.version(version_id)
    if version is None:
        raise UnknownError("There is no such version.")
    return version


async def _diff(version_id: str) -> tuple[Change, ...]:
    async with governed() as with_:
        version = await _found(with_, version_id)
        now = await policy_in_force(with_.parts.settings, with_.governance.versions)
    bands = recommended(load(SHIPPED)[0])
    try:
        return changes(complete(now, bands), complete(parse_policy(version.text), bands))
    except PolicyError as error:
        raise GoverningError(f"This release cannot read it: {error}") from None


async def _propose(text: str, note: str) -> Version:
    async with governed() as with_:
        return await with_.governance.versions.propose(text, note, with_.officer)


async def _activate(version_id: str) -> Approval:
    async with governed() as with_:
        return await with_.governance.versions.ask(version_id, with_.governance.approvals, with_.officer)
