"""The gateway runs without torch: it is the small process that everyone must be able to run."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_gateway_imports_neither_torch_nor_transformers():
    program = (
        "import sys, gateway.app, gateway.commands.serve, gateway.commands.audit, gateway.commands.safety, safety.cli;"
        "print([name for name in ('torch', 'transformers', 'sentencepiece', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_that_make_writes_can_be_imported_by_the_processes_that_help_it(tmp_path: Path):
    """They begin with the program that started them, and must not run it again."""
    written = re.search(r'script\.write_text\("#!" \+ sys\.prefix \+ (".*?[^\\]")\);', (ROOT / "Makefile").read_text())
    assert written is not None
    script = tmp_path / "attest"
    script.write_text("#!" + sys.prefix + ast.literal_eval(written[1]))
    assert "main" in runpy.run_path(str(script), run_name="__mp_main__")
