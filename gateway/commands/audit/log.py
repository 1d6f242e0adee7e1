"""`attest audit checkpoint | prove | fsck | keys`: the signed tree from the command line."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime

import click

from audit.canonical import entry_of
from audit.fsck import Counts, Flaw, Fsck
from audit.ports import AuditUnavailableError
from audit.proof import LogProof
from audit.prover import NotInTreeError, Prover, StoredCheckpoint
from audit.record import Kind
from audit.signing import Signers
from gateway.commands.audit.common import (
    FAILED,
    NOT_FOUND,
    Opened,
    access,
    catch_up,
    opened,
    opened_database,
    plain,
    print_json,
    run,
)

_LONGEST_ID = 200


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print {tree_size, root_hash, at, note}.")
def checkpoint(*, as_json: bool) -> None:
    """Sign what waits, then print the newest checkpoint: a signed note that can be kept anywhere."""
    stored = run(_checkpoint())
    if stored is None:
        click.echo("The log is empty: there is nothing to sign yet.", err=True)
        sys.exit(NOT_FOUND)
    if as_json:
        at = datetime.fromtimestamp(stored.at_us / 1e6, UTC)
        print_json({"tree_size": stored.size, "root_hash": stored.root_hash.hex(), "at": at, "note": stored.note})
    else:
        click.echo(stored.note, nl=False)


@click.command()
@click.argument("entry_id", metavar="ENTRY")
def prove(entry_id: str) -> None:
    """Print the proof that a record is in the log (C2SP tlog-proof); it holds the record and needs nothing beside it.

    ENTRY is the id of a record, as `attest audit show` and `records` print it.
    """
    if len(entry_id) > _LONGEST_ID:
        raise click.UsageError("ENTRY is the id of a record, as `attest audit records` prints it")
    proof = run(_prove(entry_id))
    if proof is None:
        click.echo(plain(f"There is no record {entry_id}."), err=True)
        sys.exit(NOT_FOUND)
    if not proof.leaf:
        click.echo("The record was emptied after its retention: the proof is for whoever has kept its bytes.", err=True)
    click.echo(proof.text(), nl=False)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print {ok, counts, flaws}.")
def fsck(*, as_json: bool) -> None:
    """Rebuild every hash of the tree and name what is not as it was signed; exit 0 only when all holds.

    Reads the database alone and changes nothing.
    """
    flaws: list[Flaw] = []
    counts, found = run(_fsck(flaws.append if as_json else lambda flaw: click.echo(_line(flaw))))
    if as_json:
        print_json({"ok": not found, "counts": counts, "flaws": flaws})
    else:
        click.echo(f"{counts.records} records, {counts.checkpoints} checkpoints, {found} flaws", err=True)
    sys.exit(FAILED if found else 0)


@click.group()
def keys() -> None:
    """Show or change the keys that sign checkpoints."""


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print {origin, current, known}.")
def list_keys(*, as_json: bool) -> None:
    """Print every public key whose signatures count, the current one first: what an auditor is given."""
    signers = run(_keys())
    known = [str(key) for key in signers.known]
    if as_json:
        print_json({"origin": signers.origin, "current": str(signers.signing[0].public), "known": known})
    else:
        click.echo("\n".join(known))


@keys.command("rotate")
def rotate_keys() -> None:
    """Make a new signing key. The next checkpoint is signed with both; old checkpoints stay valid."""
    old, new = run(_rotate())
    click.echo(f"Signed from now on with {new}")
    click.echo(f"Still valid for what was signed before: {old}", err=True)


async def _checkpoint() -> StoredCheckpoint | None:
    async with opened_database() as parts:
        await catch_up(parts)
        return await Prover(parts.engine).latest()


async def _prove(entry_id: str) -> LogProof | None:
    async with opened() as parts:
        proof = None
        try:
            proof = await _proof(parts, entry_id)
        finally:
            about = {"of_subject": entry_of(proof.leaf).subject} if proof is not None and proof.leaf else {}
            await parts.log.append(
                access(Kind.ACCESS_READ, proof_of=entry_id, found=proof is not None, content=False, **about)
            )
        return proof


async def _proof(parts: Opened, entry_id: str) -> LogProof | None:
    prover = Prover(parts.engine)
    try:
        return await prover.inclusion(entry_id)
    except NotInTreeError:
        await catch_up(parts)
    try:
        return await prover.inclusion(entry_id)
    except NotInTreeError as error:
        raise AuditUnavailableError(str(error)) from None


async def _fsck(show: Callable[[Flaw], None]) -> tuple[Counts, int]:
    async with opened_database() as parts:
        check, found = Fsck(parts.engine, parts.signing_keys.load()), 0
        async for flaw in check.flaws():
            found += 1
            show(flaw)
        return check.counts, found


async def _keys() -> Signers:
    async with opened_database() as parts:
        return parts.signing_keys.load()


async def _rotate() -> tuple[str, str]:
    async with opened() as parts:
        old, new = (str(key) for key in parts.signing_keys.prepare())
        await parts.log.append(access(Kind.KEY_ROTATED, old=old, new=new))  # before the new one signs anything
        parts.signing_keys.rotate()
        return old, new


def _line(flaw: Flaw) -> str:
    place = "" if flaw.index is None else f" {flaw.index}"
    return plain(f"{flaw.code}{place}: {flaw.what} {flaw.entry_id}".rstrip())
