"""The folder that a vLLM server was given, as the tier needs it: shapes, tokenizer, identity of what vLLM reads."""

from dataclasses import dataclass
from pathlib import Path

from inference.chatglm3 import folder as folders
from inference.chatglm3.config import ConfigError, Published, read_published
from inference.chatglm3.tokenizer import Tokenizer, TokenizerError
from inference.engine.base import ModelFolderError

_INDEX = "model.safetensors.index.json"
_OF_A_TRAINING = ("training_args.bin", "optimizer.bin")
"""Ends of names that vLLM leaves out among `.bin` files."""


@dataclass(frozen=True)
class VllmFolder:
    """What is known of the model without its weights."""

    published: Published
    tokenizer: Tokenizer
    revision: str


def open_folder(folder: Path) -> VllmFolder:
    """Read a folder. Raises `ModelFolderError`, also where vLLM would read other weights than the revision says."""
    try:
        published = read_published(folder)
        tokenizer = Tokenizer(folder / "tokenizer.model")
        weights = folders.find_weights(folder)
        strays = _read_by_vllm(folder, weights)
        revision = folders.revision(folder, weights)
    except (ConfigError, TokenizerError, folders.FolderError) as error:
        raise ModelFolderError(str(error)) from None
    if strays:
        raise ModelFolderError(f"{strays[0]} would be read by vLLM: the weights are {weights.named}; remove it")
    return VllmFolder(published, tokenizer, revision)


def _read_by_vllm(folder: Path, weights: folders.Weights) -> list[Path]:
    """Return the files that vLLM takes for weights and the tier does not.

    vLLM heeds an index of safetensors alone; without one it reads every safetensors file, and every `.bin` where there
    is none. Files in Mistral's format go before both (vllm/model_executor/model_loader/default_loader.py).
    """
    kinds = set() if weights.said_by == _INDEX else {".safetensors", weights.files[0].suffix}
    strays = folders.unused(folder, weights)
    read = [path for path in strays if path.suffix in kinds or path.match("consolidated*.safetensors")]
    return [path for path in read if not path.name.endswith(_OF_A_TRAINING)]
