"""`attest doctor`: is everything that a turn needs at hand? Looks, and changes nothing."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import click
import msgspec

from gateway.auth.provider import Provider, ProviderHttp
from gateway.limits.admission import Admission
from gateway.logging import configure_logging
from gateway.problems import AttestError
from gateway.settings import Settings, SettingsError, load
from inference.openai_compat import OpenAICompatModel
from inference.ports import InferenceError
from migrations.run import MigrationError, current, head
from safety.compose import build_safety

PATIENCE_S = 20.0
LEAST_FREE_BYTES = 200 * 2**20
EXPECTED = (AttestError, InferenceError, MigrationError, ValueError, OSError, TimeoutError, aiohttp.ClientError)


class Finding(msgspec.Struct, frozen=True):
    """What was found of one part."""

    part: str
    ok: bool
    detail: str


class NotWellError(Exception):
    """One part is not as a turn needs it; the message says what to do."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print an array of {part, ok, detail}.")
def doctor(*, as_json: bool) -> None:
    """Look at settings, disk, database, safety layer, inference, sign-in and limits; exit 1 when one is not well."""
    try:
        settings = load()
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    configure_logging("CRITICAL", sys.stderr)  # what is found is said below, once
    findings = asyncio.run(_look(settings))
    if as_json:
        click.echo(json.dumps([msgspec.structs.asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.part:<14} {finding.detail}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


async def _look(settings: Settings) -> list[Finding]:
    checks: dict[str, Callable[[Settings], Awaitable[str]]] = {
        "disk": _disk,
        "database": _database,
        "safety": _safety,
        "inference": _inference,
        "sign-in": _sign_in,
        "limits": _limits,
    }
    return [await _one(part, check, settings) for part, check in checks.items()]


async def _one(part: str, check: Callable[[Settings], Awaitable[str]], settings: Settings) -> Finding:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return Finding(part, ok=True, detail=await check(settings))
    except NotWellError as error:
        return Finding(part, ok=False, detail=str(error))
    except EXPECTED as error:
        return Finding(part, ok=False, detail=str(error) or f"no answer ({type(error).__name__})")


async def _disk(settings: Settings) -> str:
    folder = settings.data_dir.resolve()
    if not folder.is_dir():
        above = next(one for one in (folder, *folder.parents) if one.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise NotWellError(f"{folder} cannot be made: set ATTEST_DATA_DIR to another folder")
        return f"{folder} will be made at the first start"
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise NotWellError(f"less than 200 MB are free in {folder}")
    return f"{free // 2**20} MB free in {folder}"


async def _database(settings: Settings) -> str:
    if settings.database.startswith("sqlite") and not (settings.data_dir / "attest.db").exists():
        return "the embedded database will be made at the first start"
    has, wanted = await asyncio.to_thread(current, settings.database), head()
    if has != wanted:
        raise NotWellError(f"is at revision {has or 'none'}, this version needs {wanted}: run `attest migrate`")
    return f"at revision {has}"


async def _safety(settings: Settings) -> str:
    safety = await asyncio.to_thread(
        build_safety, settings.policy, None, settings.guard_timeout_s, settings.cores_for_classifier
    )
    try:
        return f"policy file {safety.policy_hash[:12]}, classifier {safety.classifier_hash[:12]}"
    finally:
        await safety.close()


async def _inference(settings: Settings) -> str:
    model = OpenAICompatModel(settings.inference, api_key=settings.inference_api_key.get_secret_value())
    try:
        names = [offered.name for offered in await model.models()]
    finally:
        await model.close()
    if not names:
        raise NotWellError("the inference server offers no model")
    return ", ".join(names)


async def _sign_in(settings: Settings) -> str:
    http = ProviderHttp(settings.oidc_ca_file)
    await http.start()
    try:
        keys = await Provider(settings.issuer, http).keys(None)
    finally:
        await http.close()
    return f"{settings.issuer} ({len(keys)} keys)"


async def _limits(settings: Settings) -> str:
    admission = Admission.from_settings(settings)
    try:
        if not await admission.ready():
            raise NotWellError("Redis does not answer (ATTEST_REDIS_URL)")
    finally:
        await admission.aclose()
    return "on Redis" if settings.redis_url.get_secret_value() else "in this process"
