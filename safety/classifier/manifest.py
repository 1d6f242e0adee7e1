"""What ships beside the model: labels, calibration, thresholds, hashes; and the check of the files by them.

`classifier.json` names the SHA-256 of the other files, so its own hash stands for all of them.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from safety.verdict import Category

LABELS = (
    Category.HATE,
    Category.HARASSMENT,
    Category.SEXUAL,
    Category.VIOLENCE,
    Category.SELF_HARM,
    Category.ILLEGAL,
    Category.PRIVACY,
    Category.PROMPT_ATTACK,
)
"""The model's first eight outputs, in this order; the ninth is the harm score."""
HARM = "harm"
OUTPUTS = (*(label.value for label in LABELS), HARM)
OPSET = 17
FORMAT = 3

MODEL_FILE, TOKENIZER_FILE, MANIFEST_FILE = "model.onnx", "tokenizer.json", "classifier.json"
_READING = b"4"
"""How texts are cut, read and weighed around the model. Raised with every change of that, so that a record tells what
judged its text, and a replay does not call another release's reading a difference."""
SHIPPED = Path(__file__).parent.parent / "models" / "harm-classifier"


class ClassifierError(ValueError):
    """The classifier cannot be used; the message says what to mend."""


class Calibration(msgspec.Struct, frozen=True):
    """Logit to probability: `1 / (1 + exp(-(slope * logit + offset)))` (Platt 1999), fitted on dev."""

    slope: float = 1.0
    offset: float = 0.0


class Thresholds(msgspec.Struct, frozen=True):
    """Recommended bands of a category, chosen on dev; the policy has the last word."""

    uncertain: float
    block: float


Language = Literal["en", "zh"]


class Specialist(msgspec.Struct, frozen=True):
    """A larger reader of one language, asked about what the first reader does not find plainly harmless."""

    language: Language
    asked_from: float
    """Highest logit of the first reader from which it is asked."""
    share: float
    """Its weight in the mean of both readers' logits, 0 to 1."""

    @property
    def file(self) -> str:
        """Name of its model."""
        return f"specialist.{self.language}.onnx.gz"


class Wording(msgspec.Struct, frozen=True):
    """A linear model over tokens, pairs and threes of them, whose logit is added to the encoders' (`wording.py`)."""

    share: float
    """What its logit is multiplied by before it is added."""
    scale: float
    """What one step of its int8 weights is worth."""
    intercept: float
    """Logit of a text none of whose wording it knows."""

    @property
    def file(self) -> str:
        """Name of its weights."""
        return "wording.npy"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`classifier.json`."""

    format: int
    outputs: tuple[str, ...]
    opset: int
    sha256: dict[str, str]
    """File name → SHA-256 in hexadecimal, of every other file that is needed."""
    calibration: dict[str, Calibration]
    """Of the logits with the specialists and the wording in them."""
    thresholds: dict[str, Thresholds]
    specialists: tuple[Specialist, ...]
    """May be empty: then the first reader judges alone."""
    wording: Wording | None
    """Without it only the encoders judge."""
    training: dict[str, str | int | float | None]
    """Arguments and figures of the run that made the model."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file beside the manifest."""
        wording = (self.wording.file,) if self.wording else ()
        return (MODEL_FILE, TOKENIZER_FILE, *(specialist.file for specialist in self.specialists), *wording)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(folder: Path) -> tuple[Manifest, str]:
    """Read and check the folder; return the manifest and the classifier's version.

    The version is a hash of the folder and of how texts are read: 16 hexadecimal digits.

    Raises `ClassifierError` for a missing, damaged or foreign file.
    """
    _present(folder, (MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE))
    raw = (folder / MANIFEST_FILE).read_bytes()
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise ClassifierError(
            f"The classifier's {MANIFEST_FILE} is damaged ({error}); restore it from the release."
        ) from None
    _check(manifest)
    _present(folder, manifest.files)
    for name in manifest.files:
        if sha256_of(folder / name) != manifest.sha256.get(name):
            raise ClassifierError(
                f"The classifier's {name} is not the file that {MANIFEST_FILE} names (hash differs); restore both."
            )
    return manifest, hashlib.sha256(_READING + raw).hexdigest()[:16]


def _present(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise ClassifierError(
                f"The classifier's {name} is missing in {folder}; restore the folder from the release."
            )


def _check(manifest: Manifest) -> None:
    if manifest.format != FORMAT:
        raise ClassifierError(f"{MANIFEST_FILE} has format {manifest.format}; this version reads format {FORMAT}.")
    if manifest.opset != OPSET:
        raise ClassifierError(f"{MANIFEST_FILE} names opset {manifest.opset}; this version runs opset {OPSET}.")
    if manifest.outputs != OUTPUTS:
        raise ClassifierError(f"{MANIFEST_FILE} names other labels than {', '.join(OUTPUTS)}; export the model again.")
    if set(manifest.calibration) != set(OUTPUTS) or set(manifest.thresholds) != {label.value for label in LABELS}:
        raise ClassifierError(
            f"{MANIFEST_FILE} lacks the calibration or thresholds of a label; export the model again."
        )
    numbers = [value for c in manifest.calibration.values() for value in (c.slope, c.offset)]
    bands = manifest.thresholds.values()
    if not all(map(math.isfinite, numbers)) or not all(0 < band.uncertain <= band.block <= 1 for band in bands):
        raise ClassifierError(f"{MANIFEST_FILE} holds a calibration or threshold out of range; export the model again.")
    asked = manifest.specialists
    if len({specialist.language for specialist in asked}) < len(asked) or not all(
        math.isfinite(specialist.asked_from) and 0 < specialist.share <= 1 for specialist in asked
    ):
        raise ClassifierError(f"{MANIFEST_FILE} names a specialist twice or out of range; export the model again.")
    wording = manifest.wording
    if wording and not (0 < wording.share <= 1 and wording.scale > 0 and math.isfinite(wording.intercept)):
        raise ClassifierError(f"{MANIFEST_FILE} holds numbers of the wording out of range; export the model again.")
