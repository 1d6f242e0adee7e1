"""A missing, damaged or foreign model folder is refused in one clear sentence."""

import json
import shutil

import onnx
import pytest

from safety.classifier.guard import HarmClassifier
from safety.classifier.manifest import SHIPPED, ClassifierError, load, sha256_of
from safety.classifier.onnx import OnnxModel


@pytest.fixture
def folder(tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(SHIPPED, copy)
    return copy


def edit(folder, **changes):
    path = folder / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_shipped_folder_is_sound_and_small():
    manifest, version = load(SHIPPED)
    assert len(version) == 16
    assert all(band.uncertain <= band.block for band in manifest.thresholds.values())
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 80_000_000


def test_a_classifier_has_another_version_where_it_reads_otherwise(folder, monkeypatch):
    before = load(folder)[1]
    monkeypatch.setattr("safety.classifier.manifest._READING", b"other")
    otherwise = load(folder)[1]
    edit(folder, training={})
    assert len({before, otherwise, load(folder)[1]}) == 3


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "classifier.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ClassifierError, match=f"{name} is missing"):
        HarmClassifier(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_file_is_named(folder, name):
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(raw)
    with pytest.raises(ClassifierError, match=f"{name} is not the file"):
        HarmClassifier(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opset": 99}, "names opset 99"),
        ({"format": 1}, "format 1"),
        ({"outputs": ["nice", "harm"]}, "other labels"),
        ({"calibration": {}}, "lacks the calibration"),
        ({"surprise": 1}, "damaged"),
    ],
)
def test_a_foreign_manifest_is_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ClassifierError, match=message):
        load(folder)


def test_a_broken_manifest_is_refused(folder):
    (folder / "classifier.json").write_text("{")
    with pytest.raises(ClassifierError, match="damaged"):
        load(folder)


def test_thresholds_out_of_range_are_refused(folder):
    thresholds = json.loads((folder / "classifier.json").read_text())["thresholds"]
    edit(folder, thresholds=thresholds | {"hate": {"uncertain": 0.9, "block": 0.2}})
    with pytest.raises(ClassifierError, match="out of range"):
        load(folder)


def test_another_opset_in_the_model_itself_is_refused(folder):
    model = onnx.load(folder / "model.onnx")
    for entry in model.opset_import:
        entry.version = 99
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ClassifierError, match="refuses the classifier's"):
        OnnxModel(folder / "model.onnx")


def test_other_outputs_are_refused(folder):
    model = onnx.load(folder / "model.onnx")
    model.graph.output[0].name = "scores"
    next(node for node in model.graph.node if "logits" in node.output).output[:] = ["scores"]
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ClassifierError, match="other inputs or outputs"):
        OnnxModel(folder / "model.onnx")


def test_the_hash_is_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert sha256_of(tmp_path / "a").startswith("e3b0c442")
