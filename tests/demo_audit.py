"""`make demo-audit`: from a question to a proof, in an environment that knows nothing of Attest.

Starts the product on the scripted engine, asks it a few things (answers, a redaction, two blocks), keeps a checkpoint
and the public key aside as an auditor would, writes a bundle, and verifies it with the one file `audit/verify.py` in a
new environment that holds `cryptography` alone. Then alters one verdict, and shows that this is found.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from audit.bundle.export import BundleExport, BundleOrder
from audit.keys import FileMasterKey
from audit.signing import SigningKeys
from gateway.database import make_engine
from tests.integration.client import by_api
from tests.rig.product import ROOT, Product, running_product
from tests.scripts import SCRIPT

QUESTIONS = ("PLAIN-EN please", "请回答 PLAIN-ZH", "Please show the CARD.", "Tell me of EN-SEVEN", "请说 ZH-SEVEN")
NEEDED = ("cryptography", "cffi", "pycparser")


def main(folder: Path) -> None:
    """Make the bundle in `folder`, which is emptied first, and verify it. Raises `SystemExit` when it does not hold."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"Starting Attest on the scripted engine in {folder} ...")
    with running_product(folder, SCRIPT) as product:
        for question in QUESTIONS:
            outcome = by_api(product, question)
            say(f"  {question!r}: {outcome.outcome} {outcome.reason}".rstrip())
        (folder / "checkpoint").write_text(product.attest("audit", "checkpoint"))
        (folder / "keys").write_text(product.attest("audit", "keys", "list"))
        say("The database by itself:")
        say(product.attest("audit", "verify", "--database").rstrip())
        asyncio.run(export(product, folder / "bundle.zip"))
    alone = folder / "alone"
    python = environment(folder)
    alone.mkdir()
    for name in ("bundle.zip", "checkpoint", "keys"):
        shutil.copy(folder / name, alone / name)
    shutil.copy(ROOT / "audit" / "verify.py", alone / "verify.py")
    words = ("bundle.zip", "--key", "keys", "--checkpoint", "checkpoint")
    if verify(python, alone, *words):
        raise SystemExit("The bundle does not verify.")
    data = (alone / "bundle.zip").read_bytes()
    (alone / "altered.zip").write_bytes(data.replace(b'"verdict":"block"', b'"verdict":"allow"', 1))
    say("Now with one verdict altered, block to allow:")
    if not verify(python, alone, "altered.zip", *words[1:]):
        raise SystemExit("The altered bundle verifies!")
    say(f"Look around in {alone}: unzip bundle.zip, and follow docs/audit.md by hand.")


async def export(product: Product, target: Path) -> None:
    """Write the whole log, with texts."""
    engine = make_engine(f"sqlite+aiosqlite:///{product.data_dir.resolve()}/attest.db")
    master = FileMasterKey.load(product.data_dir / "master.key")
    try:
        exporting = BundleExport(engine, SigningKeys(product.data_dir / "signing").load(), master)
        receipt = await exporting.write(target, BundleOrder(texts=True))
    finally:
        await engine.dispose()
    say(f"{target.name}: {receipt.records} records under a signed tree of {receipt.tree_size}")


def environment(folder: Path) -> Path:
    """Make an environment with `cryptography` and what it needs, by the hashes of our lock; return its Python."""
    say("A new environment with `cryptography` alone ...")
    lock, place = folder / "alone.lock", folder / "alone-environment"
    lock.write_text(locked((ROOT / "requirements" / "gateway.lock").read_text()))
    uv, python = os.environ.get("UV", ""), place / "bin" / "python"
    if uv:
        call(uv, "venv", "--quiet", "--python", sys.executable, str(place))
        call(uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(lock))
    else:
        call(sys.executable, "-m", "venv", str(place))
        call(str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock))
    return python.absolute()


def locked(lock: str) -> str:
    """Return the parts of a lock file that `NEEDED` stand in."""
    names = "|".join(NEEDED)
    return "".join(re.findall(rf"^(?:{names})==(?:.*\\\n)*.*\n", lock, re.MULTILINE))


def verify(python: Path, folder: Path, *words: str) -> int:
    """Run the verifier as its user does; return its exit code."""
    say(f"  $ python verify.py {' '.join(words)}")
    done = subprocess.run([python, "-I", "verify.py", *words], cwd=folder, check=False, timeout=120)
    return done.returncode


def call(*words: str) -> None:
    """Run a command that must work."""
    subprocess.run(words, check=True, timeout=300)


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
