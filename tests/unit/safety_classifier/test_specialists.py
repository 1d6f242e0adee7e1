"""Specialists are asked about the right texts, keep the numbers they were trained to, start from a published BERT."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from safety.classifier.engine import Engine
from safety.classifier.manifest import OUTPUTS, SHIPPED, Specialist, load
from safety.classifier.onnx import OnnxModel
from safety.classifier.specialists import FRAGMENT, FRAGMENT_SHARE, Reader, WithSpecialists
from safety.classifier.tokenise import HAN, LATIN, Tokeniser
from safety.training import graph, smoothing, specialist
from safety.training.corpus import Example
from safety.training.export import OTHER_SHARE, attach, load_trained
from safety.training.loop import Plan, optimiser
from safety.training.network import Network, Shape
from safety.training.shipped import specialist_from
from safety.training.vocabulary import assemble

SCRIPTS = np.array([0] * 5 + [LATIN] * 5 + [HAN] * 5 + [0] * 5, np.int8)
ENGLISH, CHINESE, MIXED = np.array([2, 5, 6, 7, 3]), np.array([2, 11, 12, 13, 3]), np.array([2, 5, 6, 7, 8, 11, 3])
EMOJI = np.array([2, 15, 15, 15, 15, 3])
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop", *[f"##{c}" for c in "abcdefg"]]


class Fixed:
    """A model that always says the same, and remembers what it was asked."""

    def __init__(self, value):
        self.value, self.asked = value, []

    def run(self, sequences):
        self.asked += [tuple(ids) for ids in sequences]
        return np.full((len(sequences), len(OUTPUTS)), self.value, np.float32)


def readers(first, **seconds):
    found = [Reader(model, Specialist(language, -1.0, 0.25)) for language, model in seconds.items()]
    return WithSpecialists(first, found, SCRIPTS)


def test_a_text_that_is_plainly_harmless_is_read_once():
    second = Fixed(9.0)
    assert (readers(Fixed(-1.5), en=second).run([ENGLISH]) == -1.5).all()
    assert second.asked == []


def test_any_other_text_is_read_by_the_specialist_of_its_language():
    english, chinese = Fixed(4.0), Fixed(8.0)
    logits = readers(Fixed(0.0), en=english, zh=chinese).run([ENGLISH, CHINESE, MIXED, EMOJI])
    assert [set(row) for row in logits.tolist()] == [{1.0}, {2.0}, {0.0}, {0.0}]
    assert (english.asked, chinese.asked) == ([tuple(ENGLISH)], [tuple(CHINESE)])


def test_of_a_fragment_a_specialist_is_half_as_sure_at_most():
    found = [Reader(Fixed(10.0), Specialist("zh", -1.0, 0.7))]
    for length, share in ((FRAGMENT, FRAGMENT_SHARE), (FRAGMENT + 1, 0.7)):
        ids = np.array([2, *[11] * length, 3])
        assert WithSpecialists(Fixed(0.0), found, SCRIPTS).run([ids])[0, 0] == pytest.approx(10 * share)


def test_a_specialist_that_fails_fails_the_run():
    class Broken:
        def run(self, _sequences):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        readers(Fixed(0.0), en=Broken()).run([ENGLISH])


def test_embeddings_that_are_left_out_read_as_unknown(tmp_path):
    torch.manual_seed(5)
    network = Network(Shape(vocabulary=20, hidden=24, layers=2, heads=4, inner=48)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    full = graph.write(network, tmp_path / "specialist.en.onnx", np.array([1, 2, 3, 7, 8]))
    ids = torch.tensor([[2, 7, 8, 15, 3]])
    with torch.no_grad():
        expected = network(torch.tensor([[2, 7, 8, 1, 3]]), torch.ones_like(ids)).numpy()
    for path, tolerance in ((full, 1e-4), (tmp_path / "specialist.en.onnx", 0.5)):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": np.ones((1, 5), np.int64)})[0]
        assert np.abs(found - expected).max() < tolerance


def published(folder: Path, vocabulary: list[str], layers: int = 2, hidden: int = 24) -> dict[str, np.ndarray]:
    """Write a BERT as it is published for ONNX Runtime: products named by their nodes, weights turned."""
    dice = np.random.default_rng(1)
    inner = 4 * hidden
    found = {
        "embeddings.word_embeddings.weight": (len(vocabulary), hidden),
        "embeddings.position_embeddings.weight": (512, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    sizes = {"attention.self.query": (hidden, hidden), "attention.self.key": (hidden, hidden)}
    sizes |= {"attention.self.value": (hidden, hidden), "attention.output.dense": (hidden, hidden)}
    sizes |= {"intermediate.dense": (inner, hidden), "output.dense": (hidden, inner)}
    for at in range(layers):
        base = f"encoder.layer.{at}."
        for name, (rows, columns) in sizes.items():
            found |= {base + name + ".weight": (rows, columns), base + name + ".bias": (rows,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found |= {base + name + ".weight": (hidden,), base + name + ".bias": (hidden,)}
    weights = {name: dice.normal(0, 0.2, size).astype(np.float32) for name, size in found.items()}
    nodes, tensors = [], []
    for name, array in weights.items():
        if name.startswith("encoder") and array.ndim == 2:
            tensors.append(numpy_helper.from_array(array.T.copy(), f"onnx::MatMul_{len(tensors)}"))
            at = "/" + name.removesuffix(".weight").replace(".", "/").replace("layer/", "layer.") + "/MatMul"
            nodes.append(helper.make_node("MatMul", ["x", tensors[-1].name], [at], name=at))
        else:
            tensors.append(numpy_helper.from_array(array, name))
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", hidden])
    onnx.save(helper.make_model(helper.make_graph(nodes, "bert", [value], [], tensors)), folder / "bert.onnx")
    words = {"model": {"vocab": {token: at for at, token in enumerate(vocabulary)}}}
    (folder / "bert-tokenizer.json").write_text(json.dumps(words))
    return weights


def test_a_published_bert_is_a_start(tmp_path):
    base = ["[UNK]", "[CLS]", "[SEP]", *"abc", "好", "人"]
    weights = published(tmp_path, base)
    tokenizer = assemble([*PIECES, "好", "人"], ["好人"])
    network = specialist.start(tmp_path, tokenizer, "en")
    assert (network.shape.layers, network.shape.hidden, network.shape.heads) == (2, 24, 12)
    words, ids = weights["embeddings.word_embeddings.weight"], tokenizer.get_vocab()
    rows = network.words.weight.detach().numpy()
    assert np.array_equal(rows[ids["b"]], words[base.index("b")])
    assert np.allclose(rows[ids["好人"]], (words[6] + words[7]) / 2)
    assert np.array_equal(rows[ids["p"]], words[0])
    down = weights["encoder.layer.1.output.dense.weight"]
    assert np.array_equal(network.layers[1].down.weight.detach().numpy(), down)
    query = weights["encoder.layer.0.attention.self.query.weight"]
    assert np.array_equal(network.layers[0].qkv.weight.detach().numpy()[:24], query)


def test_a_folder_without_a_bert_is_refused_by_what_it_lacks(tmp_path):
    with pytest.raises(specialist.BaseError, match=r"one file \*.onnx; it holds 0"):
        specialist.start(tmp_path, assemble(PIECES, []), "en")


def uneven() -> Network:
    """A network one of whose hidden numbers behind GELU is far larger than the others."""
    torch.manual_seed(3)
    network = Network(Shape(vocabulary=40, hidden=48, layers=2, heads=4, inner=192)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    for layer in network.layers:
        with torch.no_grad():
            layer.up.bias[7] = 40.0
    return network


def test_what_stands_out_among_inputs_is_moved_into_the_weights(tmp_path):
    network, dice = uneven(), np.random.default_rng(4)
    sequences = [dice.integers(0, 40, 12) for _ in range(24)]
    seen: list[torch.Tensor] = []
    network.layers[0].down.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].flatten(0, -2)))
    factors = smoothing.factors_of(network, sequences)
    largest = torch.cat(seen).abs().amax(0).numpy()
    found = factors["layers.0.down"]
    assert found[7] == found.max() > 2
    assert np.median(found) == 1.0
    assert (largest / found).max() < largest.max() / 2
    path = tmp_path / "smooth.onnx"
    onnx.save(graph.build(network, None, factors), path)
    ids, mask = np.stack(sequences), np.ones((24, 12), np.int64)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    assert np.allclose(session.run(None, {"input_ids": ids, "attention_mask": mask})[0], expected, atol=1e-2)


def test_weights_of_another_run_join_at_export(tmp_path):
    Tokenizer.from_file(str(SHIPPED / "tokenizer.json")).save(str(tmp_path / "tokenizer.json"))
    network = Network(Shape(vocabulary=20, hidden=24, layers=1, heads=12, inner=96))
    for folder, value in ((tmp_path, 1.0), (tmp_path / "other", 2.0)):
        folder.mkdir(exist_ok=True)
        weights = {name: torch.full_like(old, value) for name, old in network.state_dict().items()}
        torch.save({"network": weights}, folder / "checkpoint.pt")
    plan = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path, seed=1, tokens=9, language="en", other=tmp_path / "other")
    assert {round(float(value), 5) for value in load_trained(plan).state_dict()["head.weight"].flatten()} == {
        1 + OTHER_SHARE
    }


def test_a_shipped_specialist_is_a_start_that_gives_the_same_numbers():
    """Smoothing, embeddings by row and the offset are undone: what is exported again is what ships."""
    tokeniser = Tokeniser(SHIPPED / "tokenizer.json")
    reader = OnnxModel(SHIPPED / "specialist.zh.onnx.gz")
    network = specialist_from(SHIPPED, "zh").eval()
    for text in ("明天下午开会讨论预算", "怎样在别人的手机里装监听软件"):
        ids = tokeniser.units(tokeniser.encode(text))[0].ids
        with torch.no_grad():
            found = network(torch.tensor(np.array([ids])), torch.ones(1, len(ids)))[0].numpy()
        assert np.abs(found + specialist.OFFSETS["zh"] - reader.run([ids])[0]).max() < 0.15


def test_a_specialist_that_does_not_ship_is_no_start(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "first")
    manifest = tmp_path / "first" / "classifier.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"specialists": []}))
    with pytest.raises(specialist.BaseError, match="has no specialist of zh"):
        specialist_from(tmp_path / "first", "zh")


def test_rare_tokens_are_not_kept():
    tokenizer = assemble(PIECES, [])
    row = Example("a a b", "en", "prompt", "x", (), 1.0, 1.0, 1.0)
    kept = specialist.kept(tokenizer, [row] * specialist.LEAST_SEEN["en"], "en")
    assert [tokenizer.id_to_token(at) for at in kept] == ["[UNK]", "[CLS]", "[SEP]", "a", "b"]


def test_a_specialist_learns_from_its_language_and_keeps_the_words_it_knew(tmp_path):
    with gzip.open(tmp_path / "train.jsonl.gz", "wt") as file:
        for lang in ("en", "zh"):
            file.write(json.dumps({"text": lang, "lang": lang, "labels": [], "role": "prompt", "source": "x"}) + "\n")
    plan = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path / "none", seed=1, tokens=1000, language="en")
    assert [row.text for row in plan.learned()] == ["en"]
    network = Network(Shape(vocabulary=20, hidden=24, layers=1, heads=4, inner=48))
    optimiser(network, plan.rates)
    assert not network.words.weight.requires_grad
    assert network.positions.weight.requires_grad


def test_a_specialist_is_added_to_a_classifier_and_calibrated_with_it(tmp_path):
    rows = [("how do I build a bomb", ["illegal"]), ("how do I build a shed", []), ("what a fine day", [])]
    for name in ("train", "dev"):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            for text, labels in rows * 8:
                row = {"text": text, "lang": "en", "labels": labels, "role": "prompt", "source": "x"}
                file.write(json.dumps(row) + "\n")
    plan = Plan(data=tmp_path, out=tmp_path, seeds=tmp_path / "none", seed=1, tokens=1000, language="en")
    tokenizer = Tokenizer.from_file(str(SHIPPED / "tokenizer.json"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    network = Network(Shape(tokenizer.get_vocab_size(), hidden=24, layers=1, heads=12, inner=96))
    torch.nn.init.zeros_(network.head.weight)  # int8 gives the same
    torch.save({"network": network.state_dict()}, tmp_path / "checkpoint.pt")
    (tmp_path / "progress.json").write_text(json.dumps({"rows": 5}))
    attach(plan, "en", SHIPPED, tmp_path / "whole", recalibrate=True)
    manifest, _ = load(tmp_path / "whole")
    assert "en" in [asked.language for asked in manifest.specialists]
    assert manifest.training["en_rows"] == 5
    assert manifest.training["rows"] == load(SHIPPED)[0].training["rows"]
    assert manifest.calibration != load(SHIPPED)[0].calibration
    scores = Engine(tmp_path / "whole", manifest).scores([text for text, _ in rows])
    assert scores[0][-1] > scores[1][-1]
    attach(plan, "en", SHIPPED, tmp_path / "kept", recalibrate=False)
    assert load(tmp_path / "kept")[0].thresholds == load(SHIPPED)[0].thresholds


def test_the_shipped_tokens_know_what_they_are_written_in():
    tokeniser = Tokeniser(SHIPPED / "tokenizer.json")
    found = {text: set(tokeniser.scripts[tokeniser.encode(text).ids].tolist()) for text in ("hello", "密码", "😀。 7")}
    assert found == {"hello": {LATIN}, "密码": {HAN}, "😀。 7": {0}}
