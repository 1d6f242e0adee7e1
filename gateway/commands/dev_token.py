"""`attest dev-token NAME`: a bearer token from the running development provider, for a first `curl`."""

import asyncio

import aiohttp
import click

from gateway.auth.development_provider.files import FOLDER, SECRET_FILE
from gateway.auth.development_provider.people import PEOPLE
from gateway.auth.development_provider.server import DEV_TOKEN_CLIENT
from gateway.settings import Settings, SettingsError, load

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_OK = 200


@click.command("dev-token")
@click.argument("name", type=click.Choice([person.subject for person in PEOPLE]))
def dev_token(name: str) -> None:
    """Print a bearer access token of a demo person (12 hours). The gateway must be running."""
    try:
        settings = load()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    if not settings.uses_development_provider:
        raise click.ClickException("ATTEST_OIDC_ISSUER is set: get tokens from that provider.")
    click.echo(asyncio.run(_ask(settings, _secret(settings), name)))


def _secret(settings: Settings) -> str:
    path = settings.data_dir / FOLDER / SECRET_FILE
    try:
        return path.read_text().strip()
    except OSError as error:
        raise click.ClickException(
            f"Cannot read {path} ({error.strerror}): start the gateway first, with the same ATTEST_DATA_DIR."
        ) from None


async def _ask(settings: Settings, secret: str, name: str) -> str:
    form = {"grant_type": "client_credentials", "subject": name, "scope": "openid profile"}
    authorization = aiohttp.encode_basic_auth(DEV_TOKEN_CLIENT, secret)
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.post(f"{settings.issuer}/token", data=form, headers={"authorization": authorization}) as response,
        ):
            body = await response.json(content_type=None)
            if response.status == _OK:
                return str(body["access_token"])
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
        raise click.ClickException(f"No gateway answers at {settings.base_url}: start it first (make run).") from None
    raise click.ClickException(
        f"The gateway at {settings.base_url} refused (HTTP {response.status}): "
        "does it run with the same ATTEST_DATA_DIR and ATTEST_PORT?"
    )
