"""Figures as Markdown, and the part of docs/benchmarks.md that a benchmark owns."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Every figure below was measured by the command that stands with it; each benchmark rewrites its own part of this page.
Figures from one machine do not promise anything about another: run the command on yours.
"""


def machine() -> str:
    """Describe processor, memory, load and versions; say so when others keep the machine busy."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    busy = ""
    if load > cores / 2:
        first = os.sched_getscheduler(0) in {os.SCHED_RR, os.SCHED_FIFO}
        say = "so this was given real-time priority" if first else "**these figures say little**"
        busy = f"; other work kept the machine busy: {say}"
    return (
        f"{cores} cores ({model.group(1).strip() if model else platform.machine()}), {memory:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}; load average at the start {load:.1f}{busy}"
    )


def commit() -> str:
    """Name the commit that was measured."""
    found = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "no commit"


def heading(command: str, on: str) -> str:
    """Say where, when and how the figures came about; `on` is `machine()` before the load."""
    return f"{datetime.now(UTC):%Y-%m-%d}, commit `{commit()}`, `{command}`\n\n{on}.\n"


def table(columns: list[str], rows: list[list[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write(name: str, title: str, body: str, document: Path = DOCUMENT) -> None:
    """Replace the part between this benchmark's markers, or add it at the end."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    part = f"{begin}\n## {title}\n\n{body.strip()}\n{end}"
    text = document.read_text() if document.exists() else INTRODUCTION
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        text = before + part + rest.split(end, 1)[1]
    else:
        text = text.rstrip() + "\n\n" + part + "\n"
    document.write_text(text)
