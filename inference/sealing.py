"""`attest inference encrypt`: a folder whose weights are stored encrypted."""

import os
import shutil
from pathlib import Path

import click

from inference.sealed import WEIGHTS, seal_folder
from inference.weight_keys import WeightKeyError, keys_from, new_key


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--new-key", "key_file", type=click.Path(path_type=Path), help="Make a key file first, and use it.")
def encrypt(folder: Path, out: Path, *, key_file: Path | None) -> None:
    """Copy a folder with its weights encrypted (AES-256-GCM).

    The key: `--new-key`, or as at serving ATTEST_MODEL_KEY_COMMAND, ATTEST_MODEL_KEY_FILE or ATTEST_MODEL_KEY.
    Exit codes: 0 done, 1 it could not be done and nothing is left of OUT and the new key, 2 wrong use.
    """
    if out.exists():
        raise click.UsageError(f"{out} is there already")
    if not any(path.suffix in WEIGHTS for path in folder.iterdir()):
        raise click.ClickException(f"{folder} has no weights that are not encrypted (*{', *'.join(WEIGHTS)})")
    made: Path | None = None
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        raise click.UsageError(f"{partial} is there already: another run writes it, or was killed; remove it")
    try:
        environ = dict(os.environ)
        if key_file is not None:
            new_key(key_file)
            made, environ = key_file, {"ATTEST_MODEL_KEY_FILE": str(key_file)}
        count = seal_folder(folder, partial, keys_from(environ))
        partial.rename(out)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if made is not None:
            made.unlink(missing_ok=True)  # nothing is encrypted with it, and it would stand in the way of the next try
        if isinstance(error, WeightKeyError | OSError):
            raise click.ClickException(str(error)) from None
        raise
    click.echo(f"{out}: {count} {'file' if count == 1 else 'files'} encrypted")
