"""Trains the demo checkpoint that ships: `python -m inference.training.train --data DIR --out DIR`.

Three phases on the CPU: plain text for fluency, our own dialogues, and the same with most answers cut after their
first tokens, which teaches above all which answer belongs to which question. `--out` keeps the vocabulary, the state (a
second run continues from it) and `export/`, the newest checkpoint folder in the published layout.
"""

import argparse
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import GlmForCausalLM

from inference.chatglm3.tokenizer import Tokenizer
from inference.training.batches import Batch, bucketed, packed
from inference.training.chat import Sampler
from inference.training.corpus import Corpus, read_corpus
from inference.training.dialogues import read_dialogues
from inference.training.export import export
from inference.training.fluency import documents, vocabulary_lines
from inference.training.optimise import Phase, load, new_optimiser, run_phase, save
from inference.training.shape import new_model
from inference.training.vocabulary import train_vocabulary

FLUENCY = "fluency"
DIALOGUE = "dialogue"
MATCHING = "matching"
MATCHING_OPENINGS = 0.8
ROWS, LENGTH = 8, 256
BATCH_TOKENS, POOL = 1280, 192


@dataclass(frozen=True)
class Options:
    """The command line."""

    data: Path
    out: Path
    seed: int
    fluency_minutes: float
    minutes: float
    matching_minutes: float
    export_minutes: float
    threads: int


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m inference.training.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the harm data (train.jsonl.gz, …)")
    parser.add_argument("--out", type=Path, required=True, help="folder for state and exports")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fluency-minutes", type=float, default=21.0, help="time on plain text")
    parser.add_argument("--minutes", type=float, default=36.0, help="time on dialogues")
    parser.add_argument("--matching-minutes", type=float, default=20.0, help="time on the beginnings of answers")
    parser.add_argument("--export-minutes", type=float, default=8.0, help="time between two exports")
    parser.add_argument("--threads", type=int, default=1)
    return Options(**vars(parser.parse_args(arguments)))


def _dialogue_batches(
    corpus: Corpus, tokenizer: Tokenizer, rng: random.Random, openings: float = 0.0
) -> Iterator[Batch]:
    sampler = Sampler(read_dialogues(), corpus, tokenizer, rng, opening_share=openings)
    return bucketed(sampler.samples(), tokens=BATCH_TOKENS, pool=POOL, rng=rng)


def _fluency_batches(corpus: Corpus, tokenizer: Tokenizer, rng: random.Random) -> Iterator[Batch]:
    special = tokenizer.specials
    texts = documents(corpus, tokenizer.encode, (special.gmask, special.sop), special.eos, rng)
    return packed(texts, rows=ROWS, length=LENGTH)


def train(options: Options) -> GlmForCausalLM:
    """Train, or continue, both phases; return the model. Exports as it goes."""
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    corpus = read_corpus(options.data)
    vocabulary, state = options.out / "tokenizer.model", options.out / "state.pt"
    if not vocabulary.exists():
        train_vocabulary(vocabulary_lines(corpus, random.Random(options.seed)), vocabulary)  # noqa: S311 - sampling
    tokenizer = Tokenizer(vocabulary)
    model = new_model(tokenizer.specials.stop_ids)
    optimiser = new_optimiser(model)
    progress = load(state, model, optimiser)

    def checkpoint() -> None:
        save(state, model, optimiser, progress)
        export(model, vocabulary, options.out / "export")

    phases: list[tuple[Phase, Callable[[Corpus, Tokenizer, random.Random], Iterator[Batch]]]] = [
        (Phase(FLUENCY, options.fluency_minutes * 60, peak=2e-3, last=6e-4), _fluency_batches),
        (Phase(DIALOGUE, options.minutes * 60, peak=1.5e-3, last=3e-4), _dialogue_batches),
        (
            Phase(MATCHING, options.matching_minutes * 60, peak=8e-4, last=1e-5),
            partial(_dialogue_batches, openings=MATCHING_OPENINGS),
        ),
    ]
    for phase, batches in phases:
        # The steps done so far are part of the seed: a continued run draws what it has not seen.
        rng = random.Random(f"{options.seed} {phase.name} {progress.steps.get(phase.name, 0)}")  # noqa: S311 - sampling
        run_phase(
            phase, model, optimiser, progress, batches(corpus, tokenizer, rng),
            every=options.export_minutes * 60, checkpoint=checkpoint,
        )  # fmt: skip
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(parse(arguments))


if __name__ == "__main__":
    main()
