"""From trained weights to the shipped folder: ONNX, int8, calibration and thresholds on dev, check against float."""

import gzip
import json
import logging
import shutil
from collections.abc import Sequence
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
    Language,
    Manifest,
    Specialist,
    Thresholds,
    Wording,
    load,
    sha256_of,
)
from safety.classifier.onnx import Logits, OnnxModel, grouped
from safety.classifier.tokenise import Ids, Tokeniser
from safety.training import calibrate, graph, scales, smoothing, specialist, wording
from safety.training.corpus import TRAINING_FILE, Example, load_dev, load_seeds
from safety.training.corpus import load as load_rows
from safety.training.loop import Plan, Progress
from safety.training.network import Network, Shape

log = logging.getLogger(__name__)

MOST_LOST = 0.005
"""Points of AUPRC on dev that int8 may cost."""
ASKED_FROM = -2.5
"""Highest logit of the first reader from which a specialist is asked."""
SHARES: dict[Language, float] = {"en": 0.55, "zh": 0.7}
"""Weights of the specialists, chosen on dev and on our own texts to measure by (docs/decisions/0023, 0026)."""
SHARE_OF_WORDING, OFFSET_OF_WORDING = 0.3, 0.3
"""What the wording's logit is multiplied by before it is added, and what is added to it first: it makes every score
lower on average, and half of that goes back to catching more (docs/decisions/0026)."""
LAST_SHARE = 0.5
LAST_SHARES_OF_SPECIALISTS = {"en": 0.7, "zh": 0.8}
"""Weight of a run's last weights where it went on from a shipped classifier; the rest are its first ones."""
OTHER_SHARE = 0.3
"""Weight of another run's weights in the mean with this run's."""
SMOOTHED_ON = 300
"""Rows that the factors for int8 are made from."""
MEASURED_ON = 1500
"""Rows that the fixed scales of int8 are measured on."""
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

    A run that went on from a shipped classifier ends in a mean of its first and its last weights: on dev better than
    either (docs/decisions/0009, 0019, 0025), of a specialist's with more of the last ones (0023, 0032). So does a
    specialist's with those of another run (docs/decisions/0016).
    """
    tokenizer: Tokenizer = Tokenizer.from_file(str(plan.out / TOKENIZER_FILE))
    weights = torch.load(plan.out / "checkpoint.pt", weights_only=True)["network"]
    shape = Shape(tokenizer.get_vocab_size()) if plan.language is None else specialist.shape_of(weights, plan.language)
    network = Network(shape)
    if plan.start is not None:
        first = torch.load(plan.first_weights, weights_only=True)
        last = LAST_SHARE if plan.language is None else LAST_SHARES_OF_SPECIALISTS[plan.language]
        weights = {name: torch.lerp(first[name], value, last) for name, value in weights.items()}
    if plan.other is not None:
        other = torch.load(plan.other / "checkpoint.pt", weights_only=True)["network"]
        weights = {name: torch.lerp(value, other[name], OTHER_SHARE) for name, value in weights.items()}
    network.load_state_dict(weights)
    return network.eval()


def export(plan: Plan, folder: Path, *, rows: int | None = None, recalibrate: bool = True) -> Checked:
    """Write a first reader's files to `folder`; raises `ExportError` when int8 loses more than `MOST_LOST`.

    `rows` limits dev to its first rows after shuffling, for a quick look at a run that still goes on. Without
    `recalibrate` calibration and thresholds stay those of the classifier that the run went on from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    full = graph.write(load_trained(plan), folder / MODEL_FILE)
    scales.fix_file(folder / MODEL_FILE, full, _drawn(plan, plan.learned(), MEASURED_ON))
    Tokenizer.from_file(str(plan.out / TOKENIZER_FILE)).save(str(folder / TOKENIZER_FILE), pretty=False)
    examples = _dev(plan, rows if recalibrate else COMPARED)
    start = _manifest(plan, folder)
    texts = [example.text for example in examples]
    logits = Engine(folder, start).logits(texts)
    checked = _checked(Engine(folder, start, model_file=full.name).logits(texts[:COMPARED]), logits, examples)
    full.unlink()
    _write(_calibrated(start, logits, examples) if recalibrate else _kept(start, plan), folder)
    return approved(checked)


def attach(plan: Plan, language: Language, first: Path, folder: Path, *, recalibrate: bool) -> Checked:
    """Write to `folder` the classifier `first` with the specialist of this run added; raises `ExportError`.

    `recalibrate`: calibration and thresholds are chosen anew, of what all readers say together; otherwise they stay, so
    that nothing changes for texts of other languages.
    """
    shutil.copytree(first, folder, dirs_exist_ok=True)
    before, _ = load(first)
    added = Specialist(language, ASKED_FROM, SHARES[language])
    others = tuple(item for item in before.specialists if item.language != language)
    examples = _dev(plan, None)
    checked = _write_specialist(plan, language, folder / added.file, examples)
    start = _hashed(
        msgspec.structs.replace(
            before, specialists=(*others, added), training=before.training | _run(plan, f"{language}_")
        ),
        folder,
    )
    if recalibrate:
        start = _calibrated(start, Engine(folder, start).logits([row.text for row in examples]), examples)
    _write(start, folder)
    return approved(checked)


def add_wording(data: Path, seeds: Path, first: Path, folder: Path, *, recalibrate: bool) -> float:
    """Write to `folder` the classifier `first` with a reader of wording fitted anew; return its AUPRC on dev.

    `recalibrate`: calibration and thresholds are chosen anew, of what all readers say together; otherwise they stay.
    """
    shutil.copytree(first, folder, dirs_exist_ok=True)
    before, _ = load(first)
    rows = [*load_rows(data / TRAINING_FILE), *load_seeds(seeds)]
    learned = wording.learn(rows, Tokeniser(folder / TOKENIZER_FILE))
    added = Wording(SHARE_OF_WORDING, learned.scale, learned.intercept + OFFSET_OF_WORDING)
    np.save(folder / added.file, learned.weights)
    log.info("fitted the wording of %d rows", len(rows))
    figures = {"wording_rows": len(rows), "wording_data_sha256": sha256_of(data / TRAINING_FILE)}
    start = _hashed(msgspec.structs.replace(before, wording=added, training=before.training | figures), folder)
    examples = load_dev(data, seeds)
    logits = Engine(folder, start).logits([row.text for row in examples])
    _write(_calibrated(start, logits, examples) if recalibrate else start, folder)
    return float(average_precision_score(calibrate.targets_of(examples)[:, -1], logits[:, -1]))


def _write_specialist(plan: Plan, language: Language, path: Path, examples: Sequence[Example]) -> Checked:
    """Write the run's network, packed; compare it with float on the first units of dev's rows of its language."""
    tokeniser = Tokeniser(plan.out / TOKENIZER_FILE)
    small = path.with_name("specialist.onnx")
    tokenizer: Tokenizer = Tokenizer.from_file(str(plan.out / TOKENIZER_FILE))
    rows = plan.learned()
    network = load_trained(plan)
    with torch.no_grad():
        network.head.bias.add_(specialist.OFFSETS[language])
    factors = smoothing.factors_of(network, _drawn(plan, rows, SMOOTHED_ON))
    full = graph.write(network, small, specialist.kept(tokenizer, rows, language), factors)
    scales.fix_file(small, full, _drawn(plan, rows, MEASURED_ON))
    # Packed, int8 weights take four fifths. No time in the head: the same weights are the same file.
    path.write_bytes(gzip.compress(small.read_bytes(), 9, mtime=0))
    own, sequences = [], []
    for row in [example for example in examples if example.lang == language][:COMPARED]:
        if units := tokeniser.units(tokeniser.encode(row.text)):
            own.append(row)
            sequences.append(units[0].ids)
    exact, packed = (_judged(OnnxModel(model), sequences) for model in (full, path))
    full.unlink()
    small.unlink()
    return _checked(exact, packed, own)


def _drawn(plan: Plan, rows: Sequence[Example], count: int) -> list[Ids]:
    """Return the first unit of some rows, drawn by the run's seed."""
    tokeniser = Tokeniser(plan.out / TOKENIZER_FILE)
    drawn = np.random.default_rng(plan.seed).permutation(len(rows))[:count]
    return [unit.ids for at in drawn for unit in tokeniser.units(tokeniser.encode(rows[at].text))[:1]]


def _dev(plan: Plan, rows: int | None) -> list[Example]:
    examples = load_dev(plan.data, plan.seeds)
    order = np.random.default_rng(plan.seed).permutation(len(examples))[:rows]
    return [examples[at] for at in order]


def _judged(model: OnnxModel, sequences: Sequence[Ids]) -> Logits:
    logits = np.empty((len(sequences), len(OUTPUTS)), np.float32)
    for group in grouped([len(ids) for ids in sequences]):
        logits[group] = model.run([sequences[at] for at in group])
    return logits


def _checked(full: Logits, small: Logits, examples: Sequence[Example]) -> Checked:
    truth = calibrate.targets_of(examples[: len(full)])[:, -1]
    return Checked(*(float(average_precision_score(truth, logits[: len(full), -1])) for logits in (full, small)))


def approved(checked: Checked) -> Checked:
    """Return the figures; raises `ExportError` when int8 costs more than `MOST_LOST`."""
    log.info("AUPRC on dev: float %.4f, int8 %.4f", checked.full, checked.small)
    if checked.full - checked.small > MOST_LOST:
        raise ExportError(f"int8 loses {checked.full - checked.small:.4f} AUPRC on dev, more than {MOST_LOST}")
    return checked


def _calibrated(manifest: Manifest, logits: Logits, examples: Sequence[Example]) -> Manifest:
    calibration = calibrate.fit(logits, calibrate.targets_of(examples))
    bands = calibrate.thresholds(logits, examples, calibration)
    return msgspec.structs.replace(
        manifest,
        calibration=calibration,
        thresholds={label.value: bands.get(label.value, Thresholds(0.5, 0.5)) for label in LABELS},
    )


def _kept(manifest: Manifest, plan: Plan) -> Manifest:
    if plan.start is None:
        raise ExportError("There is no calibration to keep: the run started from no classifier.")
    before, _ = load(plan.start)
    return msgspec.structs.replace(manifest, calibration=before.calibration, thresholds=before.thresholds)


def _hashed(manifest: Manifest, folder: Path) -> Manifest:
    return msgspec.structs.replace(manifest, sha256={name: sha256_of(folder / name) for name in manifest.files})


def _write(manifest: Manifest, folder: Path) -> None:
    (folder / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def _manifest(plan: Plan, folder: Path) -> Manifest:
    """Return the manifest of a first reader that is not calibrated yet."""
    empty = Manifest(
        format=FORMAT,
        outputs=OUTPUTS,
        opset=OPSET,
        sha256={},
        calibration=dict.fromkeys(OUTPUTS, Calibration()),
        thresholds={},
        specialists=(),
        wording=None,
        training=_run(plan, ""),
    )
    return _hashed(empty, folder)


def _run(plan: Plan, prefix: str) -> dict[str, str | int | float | None]:
    """Return arguments and figures of a run; a specialist's beside the first reader's, under `prefix`."""
    progress = Progress(**json.loads((plan.out / "progress.json").read_text("utf-8")))
    masked = plan.out / "masked.json"
    found: dict[str, str | int | float | None] = {
        "seed": plan.seed,
        "data_sha256": sha256_of(plan.data / TRAINING_FILE),
        "masked_tokens": json.loads(masked.read_text("utf-8"))["tokens"] if masked.exists() else 0,
        "rows": progress.rows,
        "tokens": progress.tokens,
        "seconds": round(progress.seconds),
    }
    return {prefix + name: value for name, value in found.items()}
