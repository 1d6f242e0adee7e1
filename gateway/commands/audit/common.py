"""What the commands of `attest audit` share: the opened log, who calls, how times are given, how things are printed."""

import asyncio
import json
import os
import pwd
import re
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.keys import FileMasterKey, KeyFileError
from audit.log import SqlAuditLog
from audit.ports import AuditIntegrityError, AuditUnavailableError
from audit.record import Entry, Kind
from audit.sequencer import Sequencer, TreeRefusedError
from audit.signing import SigningKeyError, SigningKeys
from gateway import settings
from gateway.database import make_engine
from gateway.master_key import load_master_key

_T = TypeVar("_T")
NOT_FOUND = 1
"""Exit code: what was asked for is not there."""
FAILED = 3
"""Exit code: the log cannot be read, or was altered."""
EXPECTED = (
    *(AuditUnavailableError, AuditIntegrityError, TreeRefusedError),
    *(KeyFileError, SigningKeyError, settings.SettingsError),
)
"""What a command cannot do anything about; the message says what to do."""
_AGE = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Moment(click.ParamType[datetime]):
    """A time (`2026-11-20`, `2026-11-20T08:00:00+08:00`; UTC where no zone is given) or an age (`90m`, `24h`, `7d`)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time in UTC."""
        if isinstance(value, datetime):
            return value
        try:
            if age := _AGE.fullmatch(value):
                return datetime.now(UTC) - int(age[1]) * _UNITS[age[2]]
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time (2026-11-20T08:00) nor an age (24h)", param, ctx)


def access(kind: Kind, **detail: str | float | bool) -> Entry:
    """Return a record that says that the operating system's user did something with the log."""
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return Entry(kind=kind, at=datetime.now(UTC), subject=f"cli:{name}", surface="cli", detail=detail)


class Database(msgspec.Struct, frozen=True):
    """What a command works with that appends nothing."""

    settings: settings.Settings
    engine: AsyncEngine
    signing_keys: SigningKeys


class Opened(Database, frozen=True):
    """What a command works with that appends records."""

    master_key: FileMasterKey
    log: SqlAuditLog


@asynccontextmanager
async def opened_database() -> AsyncIterator[Database]:
    """Open the database with the settings of the environment, without the master key and without a writer."""
    chosen = settings.load()
    engine = make_engine(chosen.database, command_s=None)  # whoever checks or exports a whole log knows how to wait
    try:
        given = chosen.signing_key.get_secret_value()
        yield Database(chosen, engine, SigningKeys(chosen.signing_path, chosen.audit_origin, given))
    finally:
        await engine.dispose()


def key_of_texts(parts: Database) -> FileMasterKey:
    """Return the key that opens texts, for a command that can also do without it. Raises `KeyFileError`."""
    try:
        return load_master_key(parts.settings)
    except KeyFileError as error:
        raise KeyFileError(f"{error} Or verify without opening texts: --no-texts.") from None


@asynccontextmanager
async def opened() -> AsyncIterator[Opened]:
    """Open the log with the settings of the environment; errors are those that `run` turns into exit code 3."""
    async with opened_database() as parts:
        key = load_master_key(parts.settings)
        async with SqlAuditLog(parts.engine, key) as log:
            yield Opened(parts.settings, parts.engine, parts.signing_keys, key, log)


@asynccontextmanager
async def opened_log() -> AsyncIterator[SqlAuditLog]:
    """Open the log for a command that needs nothing else."""
    async with opened() as parts:
        yield parts.log


async def catch_up(parts: Database) -> None:
    """Give every record that waits its place and sign the tree; a gateway may do the same beside it.

    Raises as `audit.sequencer.Sequencer.step`.
    """
    await Sequencer(parts.engine, parts.signing_keys).catch_up()


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work; what it cannot do ends the process with a message and `FAILED`."""
    try:
        return asyncio.run(work)
    except EXPECTED as error:
        click.echo(str(error), err=True)
        sys.exit(FAILED)


def print_json(value: object) -> None:
    """Print as JSON, indented."""
    click.echo(to_json(value, indent=2))


def to_json(value: object, indent: int | None = None) -> str:
    """Return JSON with every character as it is, where it can be printed."""
    builtins = msgspec.to_builtins(value)
    written = json.dumps(builtins, ensure_ascii=False, indent=indent)
    try:
        written.encode()
    except UnicodeEncodeError:  # a lone surrogate: only its escape can be printed
        return json.dumps(builtins, indent=indent)
    return written


def plain(text: str) -> str:
    """Return text that cannot drive the terminal: control and direction characters are written as escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def utc(moment: datetime) -> str:
    """Return a time as it is printed."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
