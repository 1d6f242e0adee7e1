"""Is this folder a ChatGLM3 checkpoint? Every finding by name, without loading the weights."""

from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec

from inference.chatglm3 import folder as folders
from inference.chatglm3.config import ConfigError, Published, read_published
from inference.chatglm3.layout import DROPPED, published_shapes
from inference.chatglm3.tokenizer import Tokenizer, TokenizerError
from inference.quant import manifest as manifests
from inference.quant.plan import FLOATS, Quantisation, Stored, stored, weight_bytes

TOKENIZER = "tokenizer.model"

_BYTES = {"float32": 4, "bfloat16": 2}
_QUANTISED = (Quantisation(8), Quantisation(4))


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
    notes: tuple[str, ...] = ()
    """Files by name that nothing reads: weights that no index names, and what a manifest or list of hashes lacks."""
    tokenizer: bool = True
    """False where the folder has none, which is no problem: it is served for token ids only."""
    parameters: int = 0
    context: int = 0
    vocabulary: int = 0
    precision: str = ""
    """`float` for a folder as it was published, `int8` or `int4` for a quantised one."""
    weight_bytes: dict[str, int] = {}
    """Memory that the weights need, by precision: what this folder can be served in, or quantised to."""
    memory_bytes_per_token: dict[str, int] = {}
    """Memory for keys and values of one token of one request, by precision."""
    revision: str = ""
    files: tuple[CheckedFile, ...] = ()


def check(folder: Path) -> Report:
    """Check configuration, tokenizer, every tensor's name, shape, type and values, and hashes if a list says them.

    Values are looked at when everything else of the tensors is as it must. A file that cannot be read is named, and the
    others are checked.
    """
    path = folder / TOKENIZER
    try:
        with folders.reading(folder):
            if not folder.is_dir():
                return Report(str(folder), ok=False, problems=(f"{folder} is not a folder",))
            there = path.exists()
    except folders.FolderError as error:
        return Report(str(folder), ok=False, problems=(str(error),))
    problems: list[str] = []
    published: Published | None = None
    weights: folders.Weights | None = None
    try:
        published = read_published(folder)
    except ConfigError as error:
        problems.append(str(error))
    try:
        tokenizer = Tokenizer(path) if there else None
        if published and tokenizer and tokenizer.specials.count > published.padded_vocab_size:
            problems.append(f"{TOKENIZER} has {tokenizer.specials.count} tokens, more than padded_vocab_size")
    except TokenizerError as error:
        problems.append(str(error))
    try:
        weights = folders.look_for_weights(folder)
        problems += folders.absent(folder, weights)
        if published:
            problems += _tensors(published, weights)
    except folders.FolderError as error:
        problems.append(str(error))
    return _report(folder, problems, published, weights)


def _tensors(published: Published, weights: folders.Weights) -> list[str]:
    problems: list[str] = []
    found: dict[str, folders.Described] = {}
    unread = set(weights.missing)
    for path in weights.files:
        try:
            shapes = folders.described(path)
        except folders.FolderError as error:
            problems.append(str(error))
            unread.add(path.name)
            continue
        problems += [f"tensor {name[:200]} is in two files" for name in shapes if name in found]
        found |= shapes
    expected = stored(published_shapes(published.shapes), published.quantization_config)
    problems += _missing(weights, expected.keys() - found.keys(), unread) + _compare(expected, found)
    return problems or _values(weights)


def _missing(weights: folders.Weights, names: AbstractSet[str], unread: AbstractSet[str]) -> list[str]:
    """Name what is missing; what should be in a file that is missing or unreadable is not: that file is named."""
    if unread and not weights.index:
        return []
    return [f"tensor {name} is missing" for name in sorted(names) if weights.index.get(name) not in unread]


def _values(weights: folders.Weights) -> list[str]:
    try:
        return [
            f"{path}: tensor {name} has values that are not finite"
            for path in weights.files
            for name, tensor in folders.tensors(path)
            if name != DROPPED and not folders.finite(tensor)
        ]
    except folders.FolderError as error:
        return [str(error)]


def _compare(expected: dict[str, Stored], found: dict[str, folders.Described]) -> list[str]:
    extra = [f"tensor {name[:200]} is unknown" for name in found if name not in expected and name != DROPPED]
    wrong = [
        f"tensor {name} has shape {found[name].shape}, expected {each.shape}"
        for name, each in expected.items()
        if name in found and found[name].shape != each.shape
    ]
    typed = [
        f"tensor {name} has type {found[name].dtype}, expected {each.dtype or 'floating point of 16 bits or more'}"
        for name, each in expected.items()
        if name in found and found[name].dtype not in ({each.dtype} if each.dtype else FLOATS)
    ]
    return extra + wrong + typed


def _report(folder: Path, problems: list[str], published: Published | None, weights: folders.Weights | None) -> Report:
    if published is None:
        return Report(str(folder), ok=False, problems=tuple(problems), tokenizer=(folder / TOKENIZER).exists())
    files, unread = _files(folder)
    hashes = {file.name: file.sha256 for file in files}
    listed = _against_sums(folder, hashes, unread.keys()) + _against_manifest(folder, hashes, unread.keys())
    # A file that cannot be read may be named for its tensors already.
    problems = list(dict.fromkeys([*problems, *unread.values(), *listed]))
    per_token = 2 * published.num_layers * published.multi_query_group_num * published.kv_channels
    return Report(
        folder=str(folder),
        ok=not problems,
        problems=tuple(problems),
        notes=_notes(folder, weights, hashes.keys()),
        tokenizer=(folder / TOKENIZER).exists(),
        parameters=published.parameters,
        context=published.seq_length,
        vocabulary=published.padded_vocab_size,
        precision=published.quantization_config.precision if published.quantization_config else "float",
        weight_bytes=_weight_bytes(published),
        memory_bytes_per_token={name: size * per_token for name, size in _BYTES.items()},
        revision=_revision(folder, weights, hashes),
        files=files,
    )


def _weight_bytes(published: Published) -> dict[str, int]:
    shapes, own = published_shapes(published.shapes), published.quantization_config
    if own is not None:
        return {own.precision: weight_bytes(shapes, own)}
    floats = {name: size * published.parameters for name, size in _BYTES.items()}
    return floats | {each.precision: weight_bytes(shapes, each) for each in _QUANTISED}


def _revision(folder: Path, weights: folders.Weights | None, hashes: dict[str, str]) -> str:
    """Return the folder's identity; none where a file that belongs to it is missing or cannot be read."""
    try:
        return folders.revision(folder, weights, hashes) if weights and not weights.missing else ""
    except folders.FolderError:
        return ""


def _notes(folder: Path, weights: folders.Weights | None, names: AbstractSet[str]) -> tuple[str, ...]:
    """Name what is there beyond the folder's own lists. No problem: serving reads what they name and nothing else."""
    listed: list[tuple[str, AbstractSet[str]]] = []
    try:
        strays = folders.unused(folder, weights) if weights else []
        manifest, sums = manifests.read(folder), folders.sums(folder)
    except folders.FolderError:
        return ()  # named as a problem
    if manifest is not None:
        listed.append((manifests.MANIFEST, manifest.files.keys()))
    if sums:
        listed.append((folders.SUMS, sums.keys()))
    found = [f"{path.name} is not read: the weights are {weights.named}" for path in strays] if weights else []
    own = {manifests.MANIFEST, folders.SUMS}
    found += [f"{name} is not in {by}" for by, known in listed for name in sorted(names - known - own)]
    return tuple(found)


def _against_manifest(folder: Path, hashes: dict[str, str], unread: AbstractSet[str]) -> list[str]:
    try:
        manifest = manifests.read(folder)
    except folders.FolderError as error:
        return [str(error)]
    if manifest is None:
        return []
    read = {name: file for name, file in manifest.files.items() if name not in unread}
    return manifests.differences(msgspec.structs.replace(manifest, files=read), hashes)


def _against_sums(folder: Path, hashes: dict[str, str], unread: AbstractSet[str]) -> list[str]:
    try:
        expected = {name: digest for name, digest in folders.sums(folder).items() if name not in unread}
    except folders.FolderError as error:
        return [str(error)]
    missing = [f"{name} is missing ({folders.SUMS} names it)" for name in expected if name not in hashes]
    wrong = [
        f"{name} is not the file that {folders.SUMS} names"
        for name, digest in expected.items()
        if name in hashes and hashes[name] != digest
    ]
    return missing + wrong


def _files(folder: Path) -> tuple[tuple[CheckedFile, ...], dict[str, str]]:
    """Return every file that can be read, and by name what is said of each that cannot."""
    found: list[CheckedFile] = []
    unread: dict[str, str] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            found.append(_file(path))
        except folders.FolderError as error:
            unread[path.name] = str(error)
    return tuple(found), unread


def _file(path: Path) -> CheckedFile:
    return CheckedFile(name=path.name, bytes=path.stat().st_size, sha256=folders.sha256(path))
