"""Is this folder a ChatGLM3 checkpoint? Every finding by name, without loading the weights."""

import math
from pathlib import Path

import msgspec

from inference.chatglm3 import folder as folders
from inference.chatglm3.config import ConfigError, Published, read_published
from inference.chatglm3.layout import DROPPED, published_shapes
from inference.chatglm3.tokenizer import Tokenizer, TokenizerError

_BYTES = {"float32": 4, "bfloat16": 2}


class CheckedFile(msgspec.Struct, frozen=True):
    """One file of the folder."""

    name: str
    bytes: int
    sha256: str


class Report(msgspec.Struct, frozen=True):
    """What a folder is, and everything that is wrong with it."""

    folder: str
    ok: bool
    problems: tuple[str, ...]
    parameters: int = 0
    context: int = 0
    vocabulary: int = 0
    weight_bytes: dict[str, int] = {}
    """Memory that the weights need, by precision."""
    memory_bytes_per_token: dict[str, int] = {}
    """Memory for keys and values of one token of one request, by precision."""
    revision: str = ""
    files: tuple[CheckedFile, ...] = ()


def check(folder: Path) -> Report:
    """Check configuration, tokenizer, each tensor's name and shape, and hashes if there is a list of them.

    Values are not looked at.
    """
    problems: list[str] = []
    published: Published | None = None
    weights: folders.Weights | None = None
    try:
        published = read_published(folder)
    except ConfigError as error:
        problems.append(str(error))
    try:
        tokenizer = Tokenizer(folder / "tokenizer.model")
        if published and tokenizer.specials.count > published.padded_vocab_size:
            problems.append(f"tokenizer.model has {tokenizer.specials.count} tokens, more than padded_vocab_size")
    except TokenizerError as error:
        problems.append(str(error))
    try:
        weights = folders.find_weights(folder)
        if published:
            problems += _compare(published, _shapes(weights, problems))
    except folders.FolderError as error:
        problems.append(str(error))
    return _report(folder, problems, published, weights)


def _shapes(weights: folders.Weights, problems: list[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for path in weights.files:
        try:
            shapes = folders.shapes(path)
        except folders.FolderError as error:
            problems.append(str(error))
            continue
        problems += [f"tensor {name[:200]} is in two files" for name in shapes if name in found]
        found |= shapes
    return found


def _compare(published: Published, found: dict[str, tuple[int, ...]]) -> list[str]:
    expected = published_shapes(published.shapes)
    missing = [f"tensor {name} is missing" for name in expected if name not in found]
    extra = [f"tensor {name[:200]} is unknown" for name in found if name not in expected and name != DROPPED]
    wrong = [
        f"tensor {name} has shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    return missing + extra + wrong


def _report(folder: Path, problems: list[str], published: Published | None, weights: folders.Weights | None) -> Report:
    if published is None:
        return Report(folder=str(folder), ok=False, problems=tuple(problems))
    files = tuple(_file(path) for path in sorted(folder.iterdir()) if path.is_file())
    hashes = {file.name: file.sha256 for file in files}
    problems += _against_sums(folder, hashes)
    parameters = sum(math.prod(shape) for shape in published_shapes(published.shapes).values())
    per_token = 2 * published.num_layers * published.multi_query_group_num * published.kv_channels
    return Report(
        folder=str(folder),
        ok=not problems,
        problems=tuple(problems),
        parameters=parameters,
        context=published.seq_length,
        vocabulary=published.padded_vocab_size,
        weight_bytes={name: size * parameters for name, size in _BYTES.items()},
        memory_bytes_per_token={name: size * per_token for name, size in _BYTES.items()},
        revision=folders.revision(folder, weights, hashes) if weights else "",
        files=files,
    )


def _against_sums(folder: Path, hashes: dict[str, str]) -> list[str]:
    try:
        expected = folders.sums(folder)
    except folders.FolderError as error:
        return [str(error)]
    missing = [f"{name} is missing ({folders.SUMS} names it)" for name in expected if name not in hashes]
    wrong = [
        f"{name} is not the file that {folders.SUMS} names"
        for name, digest in expected.items()
        if name in hashes and hashes[name] != digest
    ]
    return missing + wrong


def _file(path: Path) -> CheckedFile:
    return CheckedFile(name=path.name, bytes=path.stat().st_size, sha256=folders.sha256(path))
