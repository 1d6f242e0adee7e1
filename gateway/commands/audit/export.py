"""`attest audit export`: turns taken out of the log into a file, on record before and after."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from audit.checkpoint import opened as checkpoint_of
from audit.note import NoteError
from audit.record import Kind
from audit.search.export import Format, TurnExport
from audit.search.query import Order, TurnQuery
from audit.signing import Signers
from gateway.commands.audit.common import FAILED, Opened, catch_up, opened
from gateway.commands.audit.filters import asked, check_granted, check_purpose, query_of, turn_filters
from gateway.commands.audit.keeping import carry
from gateway.identifiers import uuid7


@click.command("export")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--format", "wanted", type=click.Choice([one.value for one in Format]), default="ndjson", show_default=True
)
@click.option("--content", is_flag=True, help="With the texts of the turns; needs --purpose.")
@click.option(
    "--continues", "kept", metavar="CHECKPOINT", multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint that the receiver keeps: a bundle of chosen turns proves that its log continues it; repeatable.",
)  # fmt: skip
@turn_filters
def export(target: Path, wanted: str, purpose: str, kept: tuple[Path, ...], *, content: bool, **given: Any) -> None:
    """Write the turns found into a new FILE (mode 0600), oldest first: NDJSON, CSV, or a bundle with proofs.

    A bundle is a zip file when FILE ends in .zip, else a folder; without filters it holds the whole log.
    """
    query = query_of(given, order=Order.OLDEST)
    check_purpose(purpose, needed=content or bool(query.text))
    if target.exists():
        raise click.UsageError("FILE is there already")
    if kept and Format(wanted) is not Format.BUNDLE:
        raise click.UsageError("--continues goes with --format bundle")
    try:
        notes = [path.read_bytes() for path in kept]
        click.echo(carry(_export(target, Format(wanted), query, purpose, notes, content=content)), err=True)
    except (NoteError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--continues takes a checkpoint of this log: {error}") from None
    except OSError as error:
        click.echo(f"FILE cannot be written: {error.strerror}", err=True)
        sys.exit(FAILED)


async def _export(
    target: Path, wanted: Format, query: TurnQuery, purpose: str, kept: Sequence[bytes], *, content: bool
) -> str:
    async with opened() as parts:
        continues = _sizes(kept, parts.signing_keys.load()) if kept else ()
        if content or query.text:
            await check_granted(parts, "export", purpose)
        about: dict[str, str | float | bool] = {
            "export_id": uuid7(), "format": wanted.value, "content": content,
        }  # fmt: skip
        await parts.log.append(asked(Kind.ACCESS_EXPORT, query, purpose, **about, state="started"))
        turns, state = 0, "broken_off"
        name = "records" if wanted is Format.BUNDLE else "turns"
        try:
            turns = await _written(parts, target, wanted, query, continues, content=content)
            state = "complete"
        finally:
            await parts.log.append(asked(Kind.ACCESS_EXPORT, query, purpose, **about, state=state, **{name: turns}))
        return f"{turns} {name}"


def _sizes(kept: Sequence[bytes], signers: Signers) -> tuple[int, ...]:
    """Return the sizes of checkpoints of this log. Raises `NoteError`, `UnicodeDecodeError`."""
    return tuple(checkpoint_of(note.decode(), signers.origin, signers.known).size for note in kept)


async def _written(
    parts: Opened, target: Path, wanted: Format, query: TurnQuery, continues: Sequence[int], *, content: bool
) -> int:
    exporting = TurnExport(parts.engine, parts.master_key, parts.signing_keys, lambda: catch_up(parts))
    if wanted is Format.BUNDLE:
        return await exporting.bundle(query, target, content=content, continues=continues)
    turns = 0
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            async for part in exporting.stream(query, wanted, content=content):
                file.write(part.data)
                turns += part.turns
    except BaseException:
        # Half an export must not look like a whole one.
        target.unlink(missing_ok=True)  # noqa: ASYNC240 - the command has nothing else to do
        raise
    return turns
