"""`attest safety train`, `specialise` and `learn-wording`: from a folder of labelled text to a shipped classifier."""

import logging
from collections.abc import Callable
from pathlib import Path

import click
import torch

from safety.classifier.manifest import SHIPPED, Language
from safety.training import embeddings, masked, vocabulary
from safety.training.export import add_wording, attach, export
from safety.training.loop import SPECIALISTS, Plan
from safety.training.loop import train as run_training
from safety.training.prepare import minilm_folder, prepare, prepare_specialist
from safety.training.segment import words_of
from safety.training.specialist import BaseError

SEEDS = Path(__file__).parent / "seeds"


Command = Callable[..., None]

TOKENS = 10_000_000
"""Length of a first reader's training, as of the first one that shipped: 80 minutes on one quiet core with bfloat16."""


OF_ALL = (
    click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        required=True,
        help="Folder with train.jsonl.gz and dev.jsonl.gz.",
    ),
    click.option(
        "--seeds",
        type=click.Path(file_okay=False, path_type=Path),
        default=SEEDS,
        help="Folder with our own written examples.",
    ),
    click.option(
        "--recalibrate/--keep-thresholds",
        default=None,
        help="Whether calibration and thresholds are chosen anew; default: all but for a specialist with --from, "
        "and for the wording.",
    ),
)
"""Options of every command that learns from the data."""
OF_A_RUN = (
    click.option("--seed", type=int, default=1, show_default=True),
    click.option("--threads", type=int, default=1, show_default=True),
)
"""Options of a network's training."""
OUT = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the exported classifier and a run's checkpoints; a run that was stopped continues from it.",
)
FIRST = click.option(
    "--first",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=SHIPPED,
    help="The classifier that the reader is added to; default: the shipped one.",
)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Add options to a command, in the order in which its help names them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.command("train")
@_with(*OF_ALL, *OF_A_RUN)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Folder for the exported classifier and the run's checkpoints; a run that was stopped continues from it. "
    "Default: build/train-SEED, with --from build/train-SEED-on.",
)
@click.option(
    "--tokens", type=click.IntRange(1), default=TOKENS, show_default=True, help="Length of the training, in tokens."
)
@click.option(
    "--unihan",
    type=click.Path(path_type=Path),
    default=embeddings.UNIHAN,
    show_default=True,
    help="Unihan_Readings.txt[.bz2]: glosses for first embeddings of Chinese characters.",
)
@click.option(
    "--masked-tokens",
    type=int,
    default=masked.TOKENS,
    show_default=True,
    help="Tokens of masked-language training before the labelled rows; 0 leaves it out.",
)
@click.option(
    "--from",
    "start",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="A shipped classifier to go on from, instead of MiniLM and a masked-language phase.",
)
def train(
    data: Path,
    out: Path | None,
    seed: int,
    tokens: int,
    threads: int,
    seeds: Path,
    recalibrate: bool | None,
    unihan: Path,
    masked_tokens: int,
    start: Path | None,
) -> None:
    """Train the harm classifier; continue a run that was stopped."""
    if start is None and recalibrate is False:
        raise click.UsageError("--keep-thresholds needs --from: a run from nothing has none to keep.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    # A folder for each run: in that of another one it would go on from the other's checkpoint.
    out = out or Path("build", f"train-{seed}" if start is None else f"train-{seed}-on")
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan(data=data, out=out, seeds=seeds, seed=seed, tokens=tokens, start=start)
    network, tokenizer = prepare(plan, unihan)
    if start is None:
        masked.pretrain(network, tokenizer, vocabulary.base_tokenizer(minilm_folder()), words_of, plan, masked_tokens)
    run_training(network, tokenizer, plan)
    checked = export(plan, out / "harm-classifier", recalibrate=recalibrate is not False)
    click.echo(
        f"AUPRC on dev: float {checked.full:.4f}, int8 {checked.small:.4f}; the model is in {out}/harm-classifier"
    )


@click.command("specialise")
@click.option("--language", type=click.Choice(sorted(SPECIALISTS)), required=True)
@click.option(
    "--base",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="Folder with the BERT to start from: one *.onnx and one *tokenizer.json.",
)
@click.option(
    "--from",
    "start",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="A shipped classifier whose specialist to go on from, instead of --base.",
)
@_with(OUT, *OF_ALL, *OF_A_RUN)
@click.option("--tokens", type=click.IntRange(1), default=None, help="Length of the training; default: eight rounds.")
@click.option(
    "--with",
    "other",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="The --out folder of an earlier run with another seed, whose weights join this run's.",
)
@FIRST
def specialise(
    language: Language,
    base: Path | None,
    start: Path | None,
    data: Path,
    out: Path,
    other: Path | None,
    first: Path,
    recalibrate: bool | None,
    seed: int,
    tokens: int | None,
    threads: int,
    seeds: Path,
) -> None:
    """Train a larger reader of one language and add it to a classifier; continue a run that was stopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    plan = Plan(data=data, out=out, seeds=seeds, seed=seed, tokens=tokens, start=start, language=language, other=other)
    try:
        network, tokenizer = prepare_specialist(plan, language, base, first)
    except BaseError as error:
        raise click.ClickException(str(error)) from None
    run_training(network, tokenizer, plan)
    anew = start is None if recalibrate is None else recalibrate
    checked = attach(plan, language, first, out / "harm-classifier", recalibrate=anew)
    click.echo(
        f"AUPRC on dev: float {checked.full:.4f}, int8 {checked.small:.4f}; the classifier is in {out}/harm-classifier"
    )


@click.command("learn-wording")
@_with(OUT, *OF_ALL, FIRST)
def learn_wording(data: Path, out: Path, seeds: Path, first: Path, recalibrate: bool | None) -> None:
    """Fit the reader of wording and add it to a classifier: a minute, and some more for the figures on dev."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    found = add_wording(data, seeds, first, out / "harm-classifier", recalibrate=bool(recalibrate))
    click.echo(f"AUPRC on dev: {found:.4f}; the classifier is in {out}/harm-classifier")
