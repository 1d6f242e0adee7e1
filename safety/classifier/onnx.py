"""The model in ONNX Runtime: token sequences in, logits out. Blocking; the GIL is released while it runs."""

import contextlib
import gzip
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from safety.classifier.manifest import OUTPUTS, ClassifierError
from safety.classifier.processor import sums_bytes_exactly
from safety.classifier.tokenise import Ids

Logits = NDArray[np.float32]

BATCH_TOKENS = 96
"""Most tokens (with padding) of one run, unless one sequence has more. What a run works on stays in the core's cache:
at 768 a governed turn cost a tenth more processor time, and ONNX Runtime kept 66 MB of working memory for two threads
(27 MB at 256)."""
PADDING = 1.25
"""A batch's longest sequence may be so many times its shortest, plus `SLACK` tokens."""
SLACK = 4
SLOWER_FUSED = ["SkipLayerNormFusion", "BiasSkipLayerNormFusion", "BiasGeluFusion"]
"""Fusions of ONNX Runtime whose kernels are slower than the parts they replace: 1.4 times the time of a run."""

EXACT_SUMS = ("session.x64quantprecision", "1")
"""Products of int8 are summed exactly on x86 processors that lack VNNI. Without it these cut pairs of them off at
sixteen bits, and the same text gets another verdict there (docs/decisions/0022). Others are exact without it, and those
with AMX take more than twice as long with it (docs/decisions/0024)."""


class Model(Protocol):
    """What the batcher needs of a model."""

    def run(self, sequences: Sequence[Ids]) -> Logits:
        """Judge one batch: (sequences, outputs)."""


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Give a model's file as it is, or unpacked for as long as the block lasts.

    Unpacked in a file, not in memory: ONNX Runtime keeps the bytes that it is handed, 30 MB for each specialist.
    """
    if path.suffix != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="attest-") as folder:
        file = Path(folder, path.stem)
        with gzip.open(path) as packed, file.open("wb") as out:
            shutil.copyfileobj(packed, out)
        yield file


class OnnxModel:
    """One session; `run` may be called from any thread. A file whose name ends in `.gz` is unpacked first."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        """Open the model; raises `ClassifierError` when ONNX Runtime refuses it or its shape is another."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not sums_bytes_exactly():
            options.add_session_config_entry(*EXACT_SUMS)
        options.log_severity_level = 3
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        try:
            with _unpacked(path) as file:
                self._session = onnxruntime.InferenceSession(
                    str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_FUSED
                )
        except Exception as error:  # the library's errors have no common base
            raise ClassifierError(
                f"ONNX Runtime {onnxruntime.__version__} refuses the classifier's {path.name} ({type(error).__name__});"
                " export the model again with this version."
            ) from error
        inputs = [node.name for node in self._session.get_inputs()]
        outputs = [(node.name, node.shape[-1]) for node in self._session.get_outputs()]
        if inputs != ["input_ids", "attention_mask"] or outputs != [("logits", len(OUTPUTS))]:
            raise ClassifierError(f"The classifier's {path.name} has other inputs or outputs; export the model again.")

    def run(self, sequences: Sequence[Ids]) -> Logits:
        """Judge sequences in one run, padded to the longest; returns (sequences, outputs)."""
        width = max(len(ids) for ids in sequences)
        ids = np.zeros((len(sequences), width), np.int64)
        mask = np.zeros((len(sequences), width), np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        logits: Logits = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return logits


def grouped(lengths: Sequence[int]) -> list[list[int]]:
    """Group positions of like length into batches: little padding, at most `BATCH_TOKENS` tokens each."""
    groups: list[list[int]] = []
    for at in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        shortest = lengths[groups[-1][0]] if groups else 0
        fits = (
            groups and (len(groups[-1]) + 1) * lengths[at] <= BATCH_TOKENS and lengths[at] <= shortest * PADDING + SLACK
        )
        if fits:
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups
