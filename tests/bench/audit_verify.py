"""`python -m tests.bench.audit_verify`: verification and export of 100,000 and of 1,000,000 records.

The real commands, on a log of whose turns every fifth has its texts. Each runs in a process of its own, whose time and
largest memory the system tells. `--records` changes the sizes, `--keep FOLDER` keeps the databases for the next run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from audit.keys import FileMasterKey
from audit.signing import SigningKeys
from tests.bench import report
from tests.bench.big_log import BigLog, turns
from tests.bench.load import say
from tests.bench.processes import BenchError

Figures = dict[str, Any]
GOAL = 50_000
ROOT = Path(__file__).parents[2]
TEXTS_OF = 5
ATTEST = (sys.executable, "-m", "gateway", "audit")


def commands(work: Path) -> dict[str, tuple[str, ...]]:
    """Return what is measured, in this order; later commands need the files of earlier ones."""
    alone = (sys.executable, str(ROOT / "audit" / "verify.py"))
    content = ("--content", "--purpose", "BENCH-1")
    return {
        "verify --database --no-texts": (*ATTEST, "verify", "--database", "--no-texts"),
        "verify --database, texts opened": (*ATTEST, "verify", "--database"),
        "export of a bundle": (*ATTEST, "export", "--format", "bundle", str(work / "bundle.zip")),
        "verify.py of that bundle": (*alone, str(work / "bundle.zip")),
        "export of a bundle with texts": (*ATTEST, "export", "--format", "bundle", *content, str(work / "texts.zip")),
        "verify.py of that bundle with texts": (*alone, str(work / "texts.zip")),
        "export as NDJSON with texts": (*ATTEST, "export", "--format", "ndjson", *content, str(work / "turns.ndjson")),
    }


def run(command: tuple[str, ...], data: Path) -> Figures:
    """Run one command; return its wall and processor seconds and its largest memory, children included."""
    began = time.perf_counter()
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**kept, "ATTEST_DATA_DIR": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = process.stdout.read()[-2000:].decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    return {"wall_s": took, "cpu_s": used.ru_utime + used.ru_stime, "memory_mb": round(used.ru_maxrss / 1024)}


def measure(records: int, folder: Path) -> dict[str, Figures]:
    """Make a log of that size, where it is not kept from before, and measure every command."""
    data = folder / f"verify-{records}"
    if not data.exists():
        data.mkdir(parents=True)
        began = time.perf_counter()
        keys, master = SigningKeys(data / "signing"), FileMasterKey.load_or_create(data / "master.key")
        BigLog(data / "attest.db", keys, master).fill(turns(records // 2, TEXTS_OF))
        say(f"  made {records:,} records in {time.perf_counter() - began:.0f} s")
    found = {}
    with tempfile.TemporaryDirectory(prefix="attest-bench-", dir=folder) as name:
        for what, command in commands(Path(name)).items():
            figures = run(command, data)
            figures["per_s"] = round(records / figures["wall_s"])
            found[what] = figures
            say(f"  {records:,} {what}: {figures}")
    return found


def document(found: dict[int, dict[str, Figures]], command: str, on: str) -> str:
    """Put the figures into the part of docs/benchmarks.md."""
    intro = (
        "The commands themselves, from start to exit, on a log on SQLite whose leaves have 0.9 KB and of whose turns "
        f"every fifth has its texts. Goal: verification of ≥ {GOAL:,} leaves/s, memory that does not grow with the "
        "log.\n"
    )
    rows: list[list[object]] = []
    for what in next(iter(found.values())):
        row: list[object] = [f"`{what}`"]
        for figures in (several[what] for several in found.values()):
            row += [f"{figures['per_s']:,}", f"{figures['cpu_s']:.1f}", figures["memory_mb"]]
        rows.append(row)
    columns = ["command"]
    for records in found:
        columns += [f"{records:,} records: records/s", "CPU, s", "memory, MB"]
    return "\n".join([report.heading(command, on), intro, report.table(columns, rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    on = report.machine()
    with tempfile.TemporaryDirectory(prefix="attest-bench-") as made:
        try:
            found = {records: measure(records, options.keep or Path(made)) for records in options.records}
        except BenchError as error:
            say(f"The benchmark could not run: {error}")
            return 1
    body = document(found, "python -m tests.bench.audit_verify " + " ".join(sys.argv[1:]), on)
    say(body)
    if options.write:
        report.write("audit-verify", "Verification and export of a large log", body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
