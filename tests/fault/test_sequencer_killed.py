"""SIGKILL in the sequencer and in the writer of records, at each named step and at hundreds of random moments; several
sequencers at once.

After each the check of the whole tree finds nothing wrong, places have no gap, what was acknowledged is in the tree.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.audit.conftest import Raw
from tests.fault.sequencing import STEPS, WORKERS

ROOT = Path(__file__).parents[2]
KILLS = 110
"""For each of the two databases."""


async def run(database: str, folder: Path, *how: str) -> int:
    """Run the processes, then look at the database without our code; return how many records there are."""
    acknowledged = await asyncio.to_thread(run_processes, database, folder, *how)
    rows = await Raw(database).run("SELECT leaf_index, entry_id FROM audit_entry ORDER BY leaf_index")
    assert [index for index, _ in rows] == list(range(len(rows)))
    assert acknowledged <= {entry_id for _, entry_id in rows}
    sizes = await Raw(database).run("SELECT max(tree_size) FROM audit_checkpoint")
    assert sizes == [(len(rows) or None,)]
    return len(rows)


def run_processes(database: str, folder: Path, *how: str) -> set[str]:
    """Return the records that were acknowledged."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.fault.sequencing", database, str(folder), *how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    written = folder / "acknowledged"
    return set(written.read_text().split()) if written.exists() else set()


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_a_named_step(database, tmp_path, step):
    assert await run(database, tmp_path / "work", "at", step) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_random_moments(database, tmp_path):
    assert await run(database, tmp_path / "work", str(KILLS), "20261124") >= KILLS


@pytest.mark.parametrize("count", [2, 4])
async def test_several_processes_at_once_make_one_tree(database, tmp_path, count):
    assert await run(database, tmp_path / "work", "race", str(count), "15") == count * WORKERS * 15 * 2
