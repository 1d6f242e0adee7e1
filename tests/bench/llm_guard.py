"""LLM Guard's own scanners that run without downloading a model, beside our filters."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.load import percentile
from tests.bench.processes import BenchError

LLM_GUARD = "llm-guard==0.3.16"
PEER = """
import json, sys, time, logging
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
from llm_guard.input_scanners import BanSubstrings, InvisibleText, Regex, Secrets
scanners = [
    Regex(
        patterns=[r"Bearer [A-Za-z0-9-._~+/]+", r"[\\w.+-]+@[\\w-]+\\.[\\w.]+", r"\\b(?:\\d[ -]?){13,19}\\b"],
        is_blocked=True,
    ),
    Secrets(), InvisibleText(), BanSubstrings(substrings=["Project Kestrel", "Operation Heron"]),
]
texts = json.load(sys.stdin)
found = {type(scanner).__name__: [] for scanner in scanners} | {"all": []}
for text in texts:
    whole = 0.0
    for scanner in scanners:
        began = time.perf_counter()
        scanner.scan(text)
        took = time.perf_counter() - began
        found[type(scanner).__name__].append(took)
        whole += took
    found["all"].append(whole)
print(json.dumps(found))
"""


def peer(texts: Sequence[str]) -> dict[str, list[float]]:
    """LLM Guard's scanners, in an environment of their own in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attest-bench" / LLM_GUARD
    python = cache / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(Path(".venv-uv/bin/uv").resolve())
        try:
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(cache)], check=True)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), LLM_GUARD], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise BenchError("uv is needed to install LLM Guard") from error
    done = subprocess.run(
        [str(python), "-c", PEER], input=json.dumps(texts), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"LLM Guard failed: {done.stderr[-500:]}")
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def peer_line(ours: list[float], theirs: dict[str, list[float]]) -> str:
    """The filters beside LLM Guard's scanners."""
    each = ", ".join(f"{name} {percentile(times, 0.5)}" for name, times in theirs.items() if name != "all")
    mine, whole = percentile(ours, 0.5), percentile(theirs["all"], 0.5)
    return (
        "Normaliser and the filters that read prompts (the list of company words is empty), no classifier, same texts: "
        f"p50 {mine} ms. {LLM_GUARD}'s scanners "
        f"that need no download: {whole} ms together ({each}), {whole / mine:.0f} × as long, for three patterns, "
        "secrets, invisible characters and two banned words. Its other scanners load models from a hub and could not "
        "be run.\n"
    )
