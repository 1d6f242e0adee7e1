"""The reader of wording knows a text's tokens, pairs and threes; its logit is added to the encoders', exactly."""

import gzip
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety.classifier.engine import Engine
from safety.classifier.manifest import OUTPUTS, SHIPPED, ClassifierError, Wording, load, sha256_of
from safety.classifier.wording import WithWording, WordingReader, buckets
from safety.training.export import SHARE_OF_WORDING, add_wording

COUNT = 1 << 19


def features(*ids):
    return sorted(buckets(np.array(ids, np.int64), COUNT))


def reader(tmp_path, weights):
    np.save(tmp_path / "wording.npy", weights)
    return WordingReader(tmp_path / "wording.npy", Wording(share=0.5, scale=0.1, intercept=-2.0))


def test_a_text_has_a_feature_for_each_token_pair_and_three():
    assert [len(features(*ids)) for ids in ([], [5], [5, 6], [5, 6, 7], [5, 6, 7, 8])] == [0, 1, 3, 6, 9]


def test_what_stands_twice_counts_once():
    assert len(features(5, 5, 5, 5)) == 3


def test_order_matters_for_pairs_not_for_single_tokens():
    one, other = set(features(5, 6)), set(features(6, 5))
    assert len(one & other) == 2
    assert len(one | other) == 4


def test_the_buckets_are_these_on_every_processor():
    """Weights are found by these numbers: another hash would read another text's weights."""
    assert features(2054, 31000, 17) == [209398, 264296, 373314, 426313, 475666, 504034]


@given(st.lists(st.integers(0, 60_000), max_size=200), st.sampled_from([1, 2, 1 << 10, COUNT, 1 << 24]))
def test_features_fit_the_weights(ids, count):
    found = buckets(np.array(ids, np.int64), count)
    assert len(found) <= 3 * len(ids)
    assert all(0 <= at < count for at in found)


def test_neighbouring_ids_do_not_share_buckets():
    found = [features(at)[0] for at in range(30_000)]
    assert len(set(found)) > 0.96 * len(found)


def test_the_logit_is_the_sum_over_the_root_of_its_features(tmp_path):
    weights = np.zeros(COUNT, np.int8)
    weights[features(5, 6)] = [100, -20, 50]
    found = reader(tmp_path, weights).logit(np.array([2, 5, 6, 3]))
    assert found == -2.0 + 0.1 * 130 / math.sqrt(3)
    assert reader(tmp_path, weights).logit(np.array([2, 3])) == -2.0


def test_its_share_is_added_to_every_output_of_the_encoders(tmp_path):
    class Fixed:
        def run(self, sequences):
            return np.array([[at] * len(OUTPUTS) for at in range(len(sequences))], np.float32)

    weights = np.zeros(COUNT, np.int8)
    weights[features(5)] = 100
    found = WithWording(Fixed(), reader(tmp_path, weights), 0.5).run([np.array([2, 9, 3]), np.array([2, 5, 3])])
    assert [set(row) for row in found.tolist()] == [{-1.0}, {1 + 0.5 * 8.0}]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        np.zeros(1024, np.float32),
        np.zeros(1000, np.int8),
        np.zeros((32, 32), np.int8),
        np.zeros(0, np.int8),
        np.array([{"a": 1}], dtype=object),
    ],
    ids=["empty", "garbage", "float", "no power of two", "two-dimensional", "none", "pickle"],
)
def test_a_file_that_holds_no_weights_is_an_error(tmp_path, content):
    path = tmp_path / "wording.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(ClassifierError, match="holds no weights of wording"):
        WordingReader(path, Wording(0.3, 0.1, -2.0))


@pytest.fixture
def copied(tmp_path):
    """The shipped folder, as links, with a manifest of its own."""
    folder = tmp_path / "classifier"
    folder.mkdir()
    for file in SHIPPED.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "classifier.json").unlink()
    (folder / "classifier.json").write_bytes((SHIPPED / "classifier.json").read_bytes())
    return folder


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.5}, {"scale": -0.1}])
def test_numbers_out_of_range_are_an_error(copied, wrong):
    told = json.loads((copied / "classifier.json").read_text())
    (copied / "classifier.json").write_text(json.dumps(told | {"wording": told["wording"] | wrong}))
    with pytest.raises(ClassifierError, match="numbers of the wording out of range"):
        load(copied)


def test_a_missing_or_foreign_file_is_an_error(copied):
    (copied / "wording.npy").unlink()
    with pytest.raises(ClassifierError, match=r"wording\.npy is missing"):
        load(copied)
    np.save(copied / "wording.npy", np.zeros(COUNT, np.int8))
    with pytest.raises(ClassifierError, match=r"wording\.npy is not the file"):
        load(copied)


def test_wording_that_is_learned_is_added_and_tells_what_it_learned(tmp_path):
    rows = [
        ("the parcel is late, please call the carrier", []),
        ("zorble the quantle until nobody notices", ["illegal"]),
    ]
    for name in ("train", "dev"):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            for text, labels in rows * 8:
                row = {"text": text, "lang": "en", "labels": labels, "role": "prompt", "source": "x"}
                file.write(json.dumps(row) + "\n")
    found = add_wording(tmp_path, tmp_path / "none", SHIPPED, tmp_path / "kept", recalibrate=False)
    assert found == 1.0
    manifest, _ = load(tmp_path / "kept")
    shipped, _ = load(SHIPPED)
    assert (manifest.thresholds, manifest.calibration) == (shipped.thresholds, shipped.calibration)
    assert manifest.training["wording_rows"] == 16
    assert manifest.wording.share == SHARE_OF_WORDING
    assert manifest.sha256["wording.npy"] == sha256_of(tmp_path / "kept" / "wording.npy")
    harmless, harmful = (Engine(tmp_path / "kept", manifest).scores([text])[0][-1] for text, _ in rows)
    assert harmful > harmless
    add_wording(tmp_path, tmp_path / "none", SHIPPED, tmp_path / "again", recalibrate=True)
    assert load(tmp_path / "again")[0].calibration != shipped.calibration
    assert sha256_of(tmp_path / "again" / "wording.npy") == manifest.sha256["wording.npy"]
