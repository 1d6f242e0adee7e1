"""`attest api-keys create | list | rotate | revoke`: keys of service accounts."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from audit.governing import Governor, moment
from audit.record import Kind
from gateway.auth.principal import Role
from gateway.commands.audit.common import access, opened_database, plain, print_json, utc
from gateway.commands.audit.keeping import carry
from gateway.keys.key import ApiKey
from gateway.keys.registry import ApiKeys, Made, NewKey

HOUR_S = 3600
ROLES = [role.value for role in Role]


@click.group("api-keys")
def api_keys() -> None:
    """Keys of service accounts: programs that use the API without a person.

    Exit codes: 0 done, 2 wrong use, 3 the database cannot be read or changed, 4 refused.
    """


@api_keys.command("create")
@click.argument("name")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, default=("staff",), show_default=True)
@click.option("--model", "models", multiple=True, help="Only this model; may be given several times. Default: all.")
@click.option("--days", default=90, show_default=True, help="Days until it expires.")
def create(*, name: str, roles: tuple[str, ...], models: tuple[str, ...], days: int) -> None:
    """Make a key and print it: it is shown this once."""
    _show(carry(_create(NewKey(name, tuple(Role(role) for role in roles), models, days))))


@api_keys.command("rotate")
@click.argument("key_id", metavar="KEY_ID")
@click.option("--days", default=90, show_default=True, help="Days until the new secret expires.")
@click.option("--overlap-hours", default=24, show_default=True, help="Hours for which the old secret counts, too.")
def rotate(*, key_id: str, days: int, overlap_hours: int) -> None:
    """Give a key a new secret and print it: it is shown this once."""
    _show(carry(_rotate(key_id, days, overlap_hours * HOUR_S)))


@api_keys.command("revoke")
@click.argument("key_id", metavar="KEY_ID")
def revoke(key_id: str) -> None:
    """End a key for good."""
    click.echo(_line(carry(_revoke(key_id))))


@api_keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_keys(*, as_json: bool) -> None:
    """List every key, newest first; no secret is kept that could be shown."""
    keys = carry(_list())
    if as_json:
        print_json(keys)
        return
    for key in keys:
        click.echo(_line(key))


@asynccontextmanager
async def _keys() -> AsyncIterator[tuple[ApiKeys, str]]:
    async with opened_database() as parts:
        yield ApiKeys(Governor(parts.engine)), access(Kind.API_KEY_CREATED).subject


async def _create(wanted: NewKey) -> Made:
    async with _keys() as (keys, by):
        return await keys.create(wanted, by)


async def _rotate(key_id: str, days: int, overlap_s: int) -> Made:
    async with _keys() as (keys, by):
        return await keys.rotate(key_id, by, days=days, overlap_s=overlap_s)


async def _revoke(key_id: str) -> ApiKey:
    async with _keys() as (keys, by):
        return await keys.revoke(key_id, by)


async def _list() -> tuple[ApiKey, ...]:
    async with _keys() as (keys, _):
        return await keys.listed()


def _show(made: Made) -> None:
    click.echo(made.token)
    click.echo("This is the only time that the key is shown.", err=True)


def _line(key: ApiKey) -> str:
    used = _time(key.last_used_at) if key.last_used_at is not None else "never used"
    state = key.state(int(time.time()))
    models = ",".join(key.models) or "all models"
    roles = ",".join(key.roles)
    return plain(f"{key.key_id}  {state:8}  until {_time(key.expires_at)}  {used:20}  {roles}  {models}  {key.name}")


def _time(at: int) -> str:
    return utc(moment(at * 1_000_000))
