"""Where the reference data lies, and the skip with its reason where it does not."""

from pathlib import Path

from tests.rig.process import unavailable

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "chatglm3"


def reference(name: str) -> Path:
    path = FOLDER / name
    if not path.exists():
        unavailable(f"the ChatGLM3 reference data is not beside this checkout ({name})")
    return path
