"""`attest audit verify`: a bundle, a proof, the database, the search store; exit 0 only when all holds."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from audit import verify as alone
from audit.ports import AuditUnavailableError
from audit.verification.database import Trust, verify_database
from audit.verification.helpers import Help, cores, forked, seldom_collected
from audit.verify import Finding, Summary
from gateway.commands.audit.common import FAILED, Database, key_of_texts, opened_database, plain, run, to_json
from gateway.database import make_engine

_LARGEST = 2**20
_EXISTING = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", required=False, type=_EXISTING)
@click.option("--database", is_flag=True, help="Verify the database of the settings.")
@click.option("--elasticsearch", is_flag=True, help="Verify what Elasticsearch holds against the database.")
@click.option("--checkpoint", "kept", multiple=True, type=_FILE, help="A checkpoint that was kept elsewhere.")
@click.option("--key", "key_file", type=_FILE, help="The log's public keys as they were published.")
@click.option("--no-texts", is_flag=True, help="Only look whether texts are there: needs no master key.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes for a large database; one a core if not given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: findings, then the summary.")
def verify(
    *,
    file: Path | None,
    database: bool,
    elasticsearch: bool,
    kept: tuple[Path, ...],
    key_file: Path | None,
    no_texts: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Verify a bundle or proof (FILE), or what this installation holds; exit 0 only when all holds, otherwise 3.

    Each finding is a line with the record's index and what is wrong. FILE is verified as the stand-alone
    audit/verify.py does. Without --key a bundle is held against the keys that came with it, the database against those
    of the signing folder. docs/audit.md describes every finding.
    """
    if (file is None) != (database or elasticsearch):
        raise click.UsageError("say what to verify: FILE, or --database, --elasticsearch or both")
    if (kept or key_file) and elasticsearch and not database:
        raise click.UsageError("--checkpoint and --key go with FILE or --database")
    outside = tuple((path.name, _read(path)) for path in kept)
    keys, show, holds = _keys(key_file), _shower(as_json=as_json), True
    if file is not None:
        holds = _tell(_file(file, keys, outside, show), as_json=as_json)
    if database:
        with forked(workers or cores()) as helpers:
            summary = run(_database(keys, outside, show, helpers, texts=not no_texts))
        holds = _tell(summary, as_json=as_json)
    if elasticsearch:
        store = import_module("gateway.commands.audit.verify_store")
        holds = store.verify_store(show, texts=not no_texts, as_json=as_json) and holds
    sys.exit(0 if holds else FAILED)


def _file(
    file: Path, keys: list[alone.Key] | None, outside: tuple[tuple[str, bytes], ...], show: Callable[[Finding], None]
) -> Summary:
    if not alone.is_proof(file):
        return alone.verify_bundle(file, show, keys, outside)
    if outside:
        raise click.UsageError("--checkpoint goes with a bundle; a proof has its own")
    return alone.verify_proof(file, show, keys)


async def _database(
    keys: list[alone.Key] | None,
    outside: tuple[tuple[str, bytes], ...],
    show: Callable[[Finding], None],
    helpers: Sequence[Connection],
    *,
    texts: bool,
) -> Summary:
    async with opened_database() as parts:
        trust = Trust(
            origin=parts.signing_keys.load().origin,
            keys=tuple(keys or _own_keys(parts)),
            outside=(*_last_signed(parts), *outside),
            master_key=key_of_texts(parts) if texts else None,
            keys_given=keys is not None,
        )
        try:
            help_ = Help(partial(make_engine, parts.settings.database), helpers)
            with seldom_collected():
                return await verify_database(parts.engine, trust, show, help_=help_, alone=True)
        except (SQLAlchemyError, OSError) as error:
            raise AuditUnavailableError(f"The audit log cannot be read now ({type(error).__name__}).") from error


def _own_keys(parts: Database) -> list[alone.Key]:
    return alone.parse_keys("\n".join(map(str, parts.signing_keys.load().known)).encode())


def _last_signed(parts: Database) -> Sequence[tuple[str, bytes]]:
    """Return the newest checkpoint of the signing folder: even alone it tells a database that was rolled back."""
    note = parts.signing_keys.last_signed()
    return [("last.checkpoint of the signing folder", note.encode())] if note else []


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


def _tell(summary: Summary, *, as_json: bool) -> bool:
    """Print what was verified; return whether it holds."""
    for line in [to_json(summary._asdict())] if as_json else map(plain, alone.describe(summary)):
        click.echo(line)
    return summary.ok
