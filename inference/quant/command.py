"""`attest inference quantise`: a checkpoint folder in eight or four bits, offline."""

import importlib
from pathlib import Path

import click

from inference.engine.base import ModelFolderError
from inference.terminal import plain

_LARGEST_NAMED = 3


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--bits", type=click.Choice(["8", "4"]), required=True)
@click.option(
    "--max-error",
    type=click.FloatRange(min=0, max=1),
    help="Give up when a matrix is further off (relative, root of squares); default: 0.02 in 8 bits, 0.12 in 4.",
)
def quantise(source: Path, target: Path, *, bits: str, max_error: float | None) -> None:
    """Write the ChatGLM3 folder SOURCE in eight or four bits into the new folder TARGET."""
    # Imported by name: the other commands do without torch.
    offline = importlib.import_module("inference.quant.offline")
    try:
        found = offline.quantise(source, target, int(bits), most_error=max_error, say=click.echo)
    except ModelFolderError as error:
        raise click.ClickException(plain(str(error))) from None
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from None
    worst = sorted(found.matrices.items(), key=lambda each: -each[1].error)[:_LARGEST_NAMED]
    for name, matrix in worst:
        click.echo(f"furthest off: {name}, {matrix.error:.2%} in {matrix.bits} bits")
    size = sum(file.bytes for file in found.files.values())
    click.echo(f"{target}: {found.precision}, {size / 2**20:,.0f} MiB")
