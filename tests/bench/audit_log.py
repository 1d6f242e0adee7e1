"""What the audit log costs: durable commits of 32 turns at once, and proofs in a log of a million records.

`python -m tests.bench.audit_log [--seconds N] [--leaves N] [--no-write]`. SQLite, and a PostgreSQL of its own.
"""

import argparse
import asyncio
import hashlib
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from audit.canonical import leaf_hash
from audit.checkpoint import Checkpoint, opened, signed
from audit.keys import FileMasterKey
from audit.log import SqlAuditLog
from audit.prover import Prover
from audit.sequencer import Sequencer
from audit.signing import SigningKeys
from audit.tiles import TileEdge
from gateway.database import make_engine
from migrations.run import upgrade
from tests.bench import report
from tests.bench.load import percentile, say
from tests.contract.audit.turns import accepted, completed, released
from tests.rig.postgres import fresh_database, own_postgres

Figures = dict[str, Any]
WORKERS = 32
TEXT = "Which of our contracts end this year, and who has to be told? " * 16
"""About 1,000 characters: with its leaf a record is 2 KB and more."""
GOALS = {"commits": 2000, "proof": 5.0}
PAGE = 20_000


async def commits(database: str, folder: Path, seconds: float, *, sequenced: bool) -> Figures:
    """Append the records of turns, 32 at once, each waited for."""
    engine, waits, count = make_engine(database), [], 0
    until = time.perf_counter() + seconds
    sequencer = Sequencer(engine, SigningKeys(folder / "signing"))

    async def talk(log: SqlAuditLog, worker: int) -> None:
        nonlocal count
        number = 0
        while time.perf_counter() < until:
            turn, number = f"{os.urandom(8).hex()}", number + 1
            text = f"{worker} {number} {TEXT}"
            for entry in (accepted(turn, text), released(text, 0, turn), completed(text, turn)):
                began = time.perf_counter()
                await log.append(entry)
                waits.append(time.perf_counter() - began)
                count += 1

    master = FileMasterKey(b"b" * 32)
    async with SqlAuditLog(engine, master, on_durable=sequencer.appended) as log:
        if sequenced:
            await sequencer.start()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(talk(log, worker) for worker in range(WORKERS)))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        left = count - sequencer.status.tree_size
        if sequenced:
            await sequencer.close()
    await engine.dispose()
    return {
        "per_s": round(count / took),
        "p50_ms": percentile(waits, 0.5),
        "p99_ms": percentile(waits, 0.99),
        "cpu_us": round(cpu / count * 1e6),
        "unsigned": left if sequenced else 0,
    }


async def proofs(database: str, folder: Path, leaves: int, tries: int) -> Figures:
    """Fill a log with that many records, then prove some of them."""
    began = time.perf_counter()
    ids = await fill(database, folder, leaves)
    say(f"  {leaves} records in {time.perf_counter() - began:.0f} s")
    engine, keys = make_engine(database), SigningKeys(folder / "signing").load()
    prover, waits = Prover(engine), []
    for turn in range(tries + 20):
        index = int.from_bytes(os.urandom(6)) % leaves
        began = time.perf_counter()
        proof = await prover.inclusion(ids(index))
        if turn >= 20:
            waits.append(time.perf_counter() - began)
        assert proof is not None
        proof.check(opened(proof.note, keys.origin, keys.known))
    await engine.dispose()
    return {"p50_ms": percentile(waits, 0.5), "p99_ms": percentile(waits, 0.99)}


async def fill(database: str, folder: Path, leaves: int) -> Any:
    """Write records, tiles and a checkpoint as the writers and the sequencer would, but at once."""
    signers = SigningKeys(folder / "signing").load_or_create()
    edge, tiles = TileEdge(), []
    with writing(database) as write:
        for start in range(0, leaves, PAGE):
            rows = [row_of(index) for index in range(start, min(start + PAGE, leaves))]
            tiles += edge.extend([row[2] for row in rows])
            await write("audit_entry", ENTRY, rows)
        await write("audit_tile", ("level", "position", "root_hash", "hashes"), tiles)
        checkpoint = Checkpoint(signers.origin, edge.size, edge.root())
        note = signed(checkpoint, signers.signing)
        row = (edge.size, edge.root(), note, time.time_ns() // 1000)
        await write("audit_checkpoint", ("tree_size", "root_hash", "note", "at_us"), [row])
    return id_of


ENTRY = ("entry_id", "leaf", "leaf_hash", "leaf_index", "kind", "at_us", "subject", "turn_id")


def id_of(index: int) -> str:
    return f"01a1fb45-{index >> 16:04x}-7000-8000-{index & 0xFFFF:012x}"


def row_of(index: int) -> tuple[Any, ...]:
    leaf = f'{{"entry_id":"{id_of(index)}","padding":"{hashlib.sha256(b"%d" % index).hexdigest() * 4}"}}'.encode()
    return (id_of(index), leaf, leaf_hash(leaf), index, "turn.released", index, "", "")


@contextmanager
def writing(database: str) -> Iterator[Any]:
    """Give what writes many rows fast."""
    url = make_url(database)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(url.database))

        async def insert(table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
            marks = ", ".join("?" * len(columns))
            with connection:
                connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

        yield insert
        connection.close()
        return

    async def copy(table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
        server = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
        await server.copy_records_to_table(table, columns=columns, records=rows)
        await server.close()

    yield copy


def collect(options: argparse.Namespace, folder: Path) -> Figures:
    """Measure on both databases."""
    found: Figures = {}
    with own_postgres() as server:
        for name in ("SQLite", "PostgreSQL"):
            for part in ("commits", "sequenced", "proofs"):
                with contextmanager(a_database)(name, server.url, folder / f"{name}-{part}") as database:
                    place = folder / f"{name}-{part}"
                    if part == "proofs":
                        figures = asyncio.run(proofs(database, place, options.leaves, options.tries))
                    else:
                        work = commits(database, place, options.seconds, sequenced=part == "sequenced")
                        figures = asyncio.run(work)
                    found[f"{name} {part}"] = figures
                    say(f"  {name} {part}: {figures}")
    return found


def a_database(name: str, server: Any, place: Path) -> Iterator[str]:
    place.mkdir()
    if name == "SQLite":
        database = f"sqlite+aiosqlite:///{place}/attest.db"
        upgrade(database)
        yield database
        return
    with fresh_database(server) as database:
        upgrade(database)
        yield database


def document(found: Figures, leaves: int, command: str, on: str) -> str:
    """Put the figures into the part of docs/benchmarks.md."""
    rows: list[list[object]] = []
    for name in ("SQLite", "PostgreSQL"):
        for part, label in (("commits", name), ("sequenced", f"{name}, the tree being signed meanwhile")):
            figures = found[f"{name} {part}"]
            rows.append([label, *(figures[key] for key in ("per_s", "p50_ms", "p99_ms", "cpu_us"))])
    columns = [f"goal ≥ {GOALS['commits']:,}/s", "records/s", "p50, ms", "p99, ms", "CPU, µs a record"]
    proof = "; ".join(
        f"{name} {found[f'{name} proofs']['p50_ms']} / {found[f'{name} proofs']['p99_ms']} ms"
        for name in ("SQLite", "PostgreSQL")
    )
    intro = (
        "Durable commits: 32 turns at once, each waiting for its records one by one (accepted, released, completed; "
        "1,000 characters of text each, so a record is 2 to 4 KB with its leaf), encrypted, with their rows for lists "
        "and delivery, on a disk that is asked to flush.\n"
    )
    last = f"Inclusion proof in a log of {leaves:,} records, made, checked, p50 / p99: {proof} (goal ≤ 5 ms).\n"
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows), last])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run of commits")
    parser.add_argument("--leaves", type=int, default=1_000_000, help="records of the log that is proved")
    parser.add_argument("--tries", type=int, default=300, help="proofs that are timed")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as name:
        found = collect(options, Path(name))
    body = document(found, options.leaves, "python -m tests.bench.audit_log " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("audit-log", "The audit log", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
