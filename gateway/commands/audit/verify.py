"""`attest audit verify`: a bundle, a proof, the database, the search store; exit 0 only when all holds."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from audit import verify as alone
from audit.keys import FileMasterKey, KeyFileError
from audit.ports import AuditUnavailableError
from audit.verification.database import Trust, verify_database
from audit.verify import Finding, Summary
from gateway.commands.audit.common import FAILED, Database, opened_database, plain, run, to_json

_LARGEST = 2**20
_EXISTING = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", required=False, type=_EXISTING)
@click.option("--database", is_flag=True, help="Verify the database of the settings.")
@click.option("--checkpoint", "kept", multiple=True, type=_FILE, help="A checkpoint that was kept elsewhere.")
@click.option("--key", "key_file", type=_FILE, help="The log's public keys as they were published.")
@click.option("--no-texts", is_flag=True, help="Only look whether texts are there: needs no master key.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: findings, then the summary.")
def verify(
    *, file: Path | None, database: bool, kept: tuple[Path, ...], key_file: Path | None, no_texts: bool, as_json: bool
) -> None:
    """Verify a bundle or proof (FILE), or what this installation holds; exit 0 only when all holds, otherwise 3.

    Each finding is a line with the record's index and what is wrong. FILE is verified as the stand-alone
    audit/verify.py does. Without --key a bundle is held against the keys that came with it, the database against those
    of the signing folder. docs/audit.md describes every finding.
    """
    if (file is None) != database:
        raise click.UsageError("say what to verify: FILE, or --database")
    outside = tuple((path.name, _read(path)) for path in kept)
    keys = _keys(key_file)
    if file is None:
        whole = run(_database(keys, outside, _shower(as_json=as_json), texts=not no_texts))
    elif alone.is_proof(file):
        whole = alone.verify_proof(file, _shower(as_json=as_json), keys)
    else:
        whole = alone.verify_bundle(file, _shower(as_json=as_json), keys, outside)
    for line in [to_json(whole._asdict())] if as_json else _described(whole):
        click.echo(line)
    sys.exit(0 if whole.ok else FAILED)


async def _database(
    keys: list[alone.Key] | None,
    outside: tuple[tuple[str, bytes], ...],
    show: Callable[[Finding], None],
    *,
    texts: bool,
) -> Summary:
    async with opened_database() as parts:
        trust = Trust(
            origin=parts.signing_keys.load().origin,
            keys=tuple(keys or _own_keys(parts)),
            outside=(*_last_signed(parts), *outside),
            master_key=_master_key(parts) if texts else None,
            keys_given=keys is not None,
        )
        try:
            return await verify_database(parts.engine, trust, show)
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error


def _own_keys(parts: Database) -> list[alone.Key]:
    return alone.parse_keys("\n".join(map(str, parts.signing_keys.load().known)).encode())


def _last_signed(parts: Database) -> Sequence[tuple[str, bytes]]:
    """Return the newest checkpoint of the signing folder: even alone it tells a database that was rolled back."""
    note = parts.signing_keys.last_signed()
    return [("last.checkpoint of the signing folder", note.encode())] if note else []


def _master_key(parts: Database) -> FileMasterKey:
    try:
        return FileMasterKey.load(parts.settings.master_key_path)
    except KeyFileError as error:
        raise KeyFileError(f"{error} Or verify without opening texts: --no-texts.") from None


def _keys(path: Path | None) -> list[alone.Key] | None:
    if path is None:
        return None
    try:
        return alone.parse_keys(_read(path))
    except alone.UnreadableError as error:
        raise click.UsageError(f"{path}: {error}") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST)


def _shower(*, as_json: bool) -> Callable[[Finding], None]:
    if as_json:
        return lambda finding: click.echo(to_json(finding.fields()))
    return lambda finding: click.echo(plain(finding.line()))


def _described(summary: Summary) -> Iterator[str]:
    return (plain(line) for line in alone.describe(summary))
