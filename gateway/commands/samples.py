"""`attest safety samples export`: what reviewers decided, as labelled texts for the next training."""

import os
import sys
from pathlib import Path

import click
import msgspec

from audit.governing import GoverningError, Governor
from audit.readers import Readers
from audit.record import Kind
from gateway.commands.audit.common import FAILED, access, opened
from gateway.commands.audit.filters import check_granted, check_purpose
from gateway.commands.audit.keeping import carry
from gateway.policies.in_force import policy_in_force
from gateway.policies.versions import PolicyVersions
from gateway.review.samples import Samples
from gateway.review.store import Reviews


@click.group()
def samples() -> None:
    """Labelled texts that reviewers made."""


@samples.command("export")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--purpose", required=True, help="Case number that the record names.")
def export(target: Path, purpose: str) -> None:
    """Write decided reviews into a new FILE (mode 0600), one JSON object a line: text, lang, role, labels, source.

    Only where the policy has `samples: {allowed: true}`; personal data, secrets and company words get placeholders.
    """
    check_purpose(purpose, needed=True)
    if target.exists():
        raise click.UsageError("FILE is there already")
    try:
        written, left_out = carry(_export(target, purpose))
    except OSError as error:
        click.echo(f"FILE cannot be written: {error.strerror}", err=True)
        sys.exit(FAILED)
    click.echo(f"{written} samples, {left_out} decided turns left out", err=True)


async def _export(target: Path, purpose: str) -> tuple[int, int]:
    async with opened() as parts:
        await check_granted(parts, "samples", purpose)
        try:
            policy = await policy_in_force(parts.settings, PolicyVersions(Governor(parts.engine)))
        except ValueError as error:
            raise GoverningError(str(error)) from None
        if not policy.samples.allowed:
            raise GoverningError("The policy lets no text be used for training: samples.allowed is not true.")
        about: dict[str, str | float | bool] = {"what": "samples", "purpose": purpose}
        await parts.log.append(access(Kind.ACCESS_EXPORT, **about, state="started"))
        made = Samples(Reviews(Governor(parts.engine)), Readers(parts.engine, parts.master_key), policy)
        written, state = 0, "broken_off"
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                async for sample in made.all():
                    file.write(msgspec.json.encode(sample) + b"\n")
                    written += 1
            state = "complete"
        finally:
            if state != "complete":
                target.unlink(missing_ok=True)  # noqa: ASYNC240 - half an export must not look like a whole one
            await parts.log.append(access(Kind.ACCESS_EXPORT, **about, state=state, turns=written))
        return written, made.left_out
