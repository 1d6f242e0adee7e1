"""Files of weights that torch pickled: plain tensors are served, anything else is refused before it takes memory."""

import pickle
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from inference.chatglm3.check import check
from inference.chatglm3.loader import load
from inference.engine.base import ModelFolderError
from tests.unit.inference.folders import same, state_of


def test_a_pickle_with_code_is_refused_and_not_run(folder, tmp_path):
    target = tmp_path / "proof"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (target,))

    for path in folder.glob("model*"):
        path.unlink()
    for content in (pickle.dumps({"x": Evil()}), None):
        if content is None:
            torch.save({"x": Evil()}, folder / "pytorch_model.bin")
        else:
            (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin"):
            load(folder)
        assert not target.exists()


def bin_file(folder, state, **options):
    for path in folder.glob("model*"):
        path.unlink()
    torch.save(state, folder / "pytorch_model.bin", **options)


NAME = "transformer.encoder.layers.1.mlp.dense_4h_to_h.weight"
HOSTILE = {
    "sparse": lambda tensor: {NAME: tensor.to_sparse()},
    "meta": lambda tensor: {NAME: torch.empty(tensor.shape, device="meta")},
    "complex": lambda tensor: {NAME: tensor.to(torch.complex64)},
    "float8": lambda tensor: {NAME: tensor.to(torch.float8_e4m3fn)},
    "spread by a stride of 0": lambda tensor: {NAME: torch.ones(1, 1).expand(tensor.shape)},
    "rows spread by a stride of 0": lambda tensor: {NAME: tensor[:1].clone().expand(tensor.shape)},
    "columns first": lambda tensor: {NAME: tensor.t().contiguous().t()},
    "with another sign": lambda tensor: {NAME: torch._neg_view(tensor)},
    "quantised": lambda tensor: {NAME: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)},
    "text": lambda _: {NAME: "text"},
    "number as a name": lambda tensor: {5: tensor},
}


@pytest.mark.filterwarnings("ignore:Validating sparse", "ignore:torch.quantize_per_tensor", "ignore:TypedStorage is")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_bin_with_anything_but_plain_tensors_by_name_is_refused(folder, kind):
    state = state_of(folder)
    bin_file(folder, state | HOSTILE[kind](state[NAME]))
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin"):
        load(folder)


def test_a_bin_that_claims_more_memory_than_it_has_bytes_is_refused(folder):
    """All tensors look at one piece of memory, as large as the largest: converted, each is a piece of its own."""
    state = state_of(folder)
    one = torch.zeros(max(tensor.numel() for tensor in state.values()))
    bin_file(folder, {name: one[: tensor.numel()].view(tensor.shape) for name, tensor in state.items()})
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin is damaged"):
        load(folder)
    assert any("pytorch_model.bin is damaged" in problem for problem in check(folder).problems)


def test_a_bin_of_pieces_of_one_memory_is_served(folder, tiny_checkpoint):
    state = state_of(folder)
    parts = torch.cat([tensor.flatten() for tensor in state.values()]).split([one.numel() for one in state.values()])
    named = zip(state.items(), parts, strict=True)
    bin_file(folder, {name: part.view(tensor.shape) for (name, tensor), part in named})
    assert same(load(folder, "float32"), tiny_checkpoint)


@pytest.mark.parametrize("compressed", ["data.pkl", "data/0"])
def test_a_bin_that_is_compressed_is_refused(folder, compressed):
    """A megabyte of it unpacks to a gigabyte; torch writes none."""
    bin_file(folder, state_of(folder))
    path = folder / "pytorch_model.bin"
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            kind = zipfile.ZIP_DEFLATED if name.endswith(compressed) else zipfile.ZIP_STORED
            new.writestr(name, content, kind)
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin is damaged"):
        load(folder)


def test_an_old_bin_that_cannot_be_mapped_is_refused(folder):
    bin_file(folder, state_of(folder), _use_new_zipfile_serialization=False)
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin"):
        load(folder)


def call(module: str, name: str, argument: int) -> bytes:
    """Return a pickle that calls a function with a number."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"\x8a\x08" + argument.to_bytes(8, "little") + b"\x85R0}."


def by_name_on_the_stack(module: str, name: str, argument: int) -> bytes:
    """Return the same as a later protocol writes it."""
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04" + words + b"\x93\x8a\x08" + argument.to_bytes(8, "little") + b"\x85R0}."


@pytest.mark.parametrize("written", ["data.pkl", "DATA.PKL"])
@pytest.mark.parametrize("pickled", [call, by_name_on_the_stack])
@pytest.mark.parametrize("named", [("builtins", "bytearray"), ("torch.storage", "UntypedStorage"), ("torch", "zeros")])
def test_what_a_pickle_calls_takes_no_memory(folder, pickled, named, written):
    """`weights_only` lets some calls through; each would take its memory before anything is looked at."""
    bin_file(folder, state_of(folder))
    path = folder / "pytorch_model.bin"
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            of_code = name.endswith("data.pkl")
            new.writestr(name.replace("data.pkl", written), pickled(*named, 4 * 2**30) if of_code else content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin is damaged"):
        load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "KiB"


def test_parameters_and_ordered_dictionaries_are_served(folder, tiny_checkpoint):
    bin_file(folder, OrderedDict((name, torch.nn.Parameter(one)) for name, one in state_of(folder).items()))
    assert same(load(folder, "float32"), tiny_checkpoint)
