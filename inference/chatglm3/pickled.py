"""Files of weights that torch pickled (`.bin`), read so that their bytes alone decide what memory they take.

`weights_only=True` runs no code of a file. But what it may call still takes memory as it is called, `bytearray(2**31)`
for instance, so a file may name nothing but what a dictionary of tensors is made of.
"""

import pickletools
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

_LONGEST_PICKLE = 16 * 2**20
"""Bytes of the pickle in a file; what it says of a hundred tensors are ten thousand."""
_NAMED = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(?:tensor_v2|parameter)|torch [A-Z][A-Za-z0-9]{0,15}Storage"
)


def pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.bin`, mapped. What a file claims may take no more memory than the file has bytes.

    Raises what reading a damaged file raises; `TypeError` and `ValueError` for one that is anything else.
    """
    with zipfile.ZipFile(path) as records:
        _check_records(records)
    state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(name, str) and _plain(each) for name, each in state.items()):
        raise TypeError
    # Tensors that share memory are small in the file, and each is as large as its shape says once it is converted.
    if sum(tensor.nbytes for tensor in state.values()) > path.stat().st_size:
        raise ValueError
    return state


def _check_records(records: zipfile.ZipFile) -> None:
    """Raise `ValueError` unless every record stands as it is and the pickle names nothing but tensors' parts."""
    for record in records.infolist():
        if record.compress_type != zipfile.ZIP_STORED:
            raise ValueError  # torch stores them as they are; a compressed one unpacks to any size
        if record.filename.lower().endswith(".pkl"):  # torch looks for it whatever the case
            if record.file_size > _LONGEST_PICKLE:
                raise ValueError
            _check_pickle(records.read(record))


def _check_pickle(raw: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(raw):
        if opcode.name in ("STACK_GLOBAL", "INST") or (opcode.name == "GLOBAL" and not _NAMED.fullmatch(str(argument))):
            raise ValueError


def _plain(value: object) -> bool:
    """Say whether each value of a tensor stands in the file, one after the other, as it is.

    It does not where a tensor is sparse, nested, quantised or on another device, or only looks at a piece of memory
    through strides or with another sign.
    """
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not (value.is_nested or value.is_quantized or value.is_neg() or value.is_conj())
        and value.is_contiguous()
    )
