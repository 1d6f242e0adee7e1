"""The gateway runs without torch: it is the small process that everyone must be able to run."""

import subprocess
import sys


def test_the_gateway_imports_neither_torch_nor_transformers():
    program = (
        "import sys, gateway.app, gateway.commands.serve, gateway.commands.audit, gateway.commands.safety, safety.cli;"
        "print([name for name in ('torch', 'transformers', 'sentencepiece') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
