"""From trained weights to the shipped folder: ONNX, int8, calibration and thresholds on dev, check against float."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from safety.classifier.engine import Engine
from safety.classifier.manifest import (
    FORMAT,
    LABELS,
    MANIFEST_FILE,
    MODEL_FILE,
    OPSET,
    OUTPUTS,
    TOKENIZER_FILE,
    Calibration,
    Manifest,
    Thresholds,
    sha256_of,
)
from safety.training import calibrate, graph
from safety.training.corpus import load_dev
from safety.training.loop import Plan, Progress
from safety.training.network import Network, Shape

log = logging.getLogger(__name__)

MOST_LOST = 0.005
"""Points of AUPRC on dev that int8 may cost."""
COMPARED = 3000
"""Rows of dev on which float and int8 are compared."""


class ExportError(Exception):
    """The exported model is worse than the trained one."""


@dataclass(frozen=True, slots=True)
class Checked:
    """AUPRC of the harm score on dev."""

    full: float
    small: float


def load_trained(plan: Plan) -> Network:
    """Read the network of the run's last checkpoint.

    A run that went on from a shipped classifier ends in the mean of its first and its last weights: on dev better than
    either (docs/decisions/0009).
    """
    tokenizer: Tokenizer = Tokenizer.from_file(str(plan.out / TOKENIZER_FILE))
    network = Network(Shape(tokenizer.get_vocab_size()))
    weights = torch.load(plan.out / "checkpoint.pt", weights_only=True)["network"]
    if plan.start is not None:
        first = torch.load(plan.out / "first.pt", weights_only=True)
        weights = {name: (value + first[name]) / 2 for name, value in weights.items()}
    network.load_state_dict(weights)
    return network.eval()


def export(plan: Plan, folder: Path, *, rows: int | None = None) -> Checked:
    """Write the shipped files to `folder`; raises `ExportError` when int8 loses more than `MOST_LOST`.

    `rows` limits dev to its first rows after shuffling, for a quick look at a run that still goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    full, _ = graph.write(load_trained(plan), folder)
    Tokenizer.from_file(str(plan.out / TOKENIZER_FILE)).save(str(folder / TOKENIZER_FILE), pretty=False)
    examples = load_dev(plan.data, plan.seeds)
    order = np.random.default_rng(plan.seed).permutation(len(examples))[:rows]
    examples = [examples[at] for at in order]
    texts = [example.text for example in examples]
    truth = calibrate.targets_of(examples)
    start = _manifest(plan, folder, dict.fromkeys(OUTPUTS, Calibration()), {})
    logits = Engine(folder, start).logits(texts)
    float_logits = Engine(folder, start, model_file=full.name).logits(texts[:COMPARED])
    full.unlink()
    checked = Checked(
        float(average_precision_score(truth[:COMPARED, -1], float_logits[:, -1])),
        float(average_precision_score(truth[:COMPARED, -1], logits[:COMPARED, -1])),
    )
    calibration = calibrate.fit(logits, truth)
    bands = calibrate.thresholds(logits, examples, calibration)
    manifest = _manifest(plan, folder, calibration, bands)
    (folder / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    log.info("AUPRC on dev: float %.4f, int8 %.4f", checked.full, checked.small)
    if checked.full - checked.small > MOST_LOST:
        raise ExportError(f"int8 loses {checked.full - checked.small:.4f} AUPRC on dev, more than {MOST_LOST}")
    return checked


def _manifest(plan: Plan, folder: Path, calibration: dict[str, Calibration], bands: dict[str, Thresholds]) -> Manifest:
    progress = Progress(**json.loads((plan.out / "progress.json").read_text("utf-8")))
    masked = plan.out / "masked.json"
    return Manifest(
        format=FORMAT,
        outputs=OUTPUTS,
        opset=OPSET,
        sha256={name: sha256_of(folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
        calibration=calibration,
        thresholds={label.value: bands.get(label.value, Thresholds(0.5, 0.5)) for label in LABELS},
        training={
            "seed": plan.seed,
            "minutes": plan.minutes,
            "data_sha256": sha256_of(plan.data / "train.jsonl.gz"),
            "masked_tokens": json.loads(masked.read_text("utf-8"))["tokens"] if masked.exists() else 0,
            "rows": progress.rows,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds),
        },
    )
