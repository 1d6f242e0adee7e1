"""The words of every page, one catalogue for each language; no text for people stands anywhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "messages"
DEFAULT = "en"


@dataclass(frozen=True)
class Catalogue:
    """The messages of one language."""

    language: str
    messages: Mapping[str, str]

    def text(self, key: str, **values: object) -> str:
        """Return a message with its `{names}` filled in; raises `KeyError` for an unknown key."""
        return self.messages[key].format(**values)

    def has(self, key: str) -> bool:
        """Whether there is such a message."""
        return key in self.messages

    def script_messages(self) -> dict[str, str]:
        """Return what the scripts need, without the prefix `js.`; they fill in names themselves."""
        return {key.removeprefix("js."): text for key, text in self.messages.items() if key.startswith("js.")}


def load_catalogues(folder: Path = FOLDER) -> dict[str, Catalogue]:
    """Read all catalogues, by language tag: `<tag>.json`, and the same of each folder below for parts of their own.

    Raises `ValueError` for a key that two files have.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob("*.json")):
        messages = found.setdefault(path.stem, {})
        more = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        if twice := messages.keys() & more.keys():
            raise ValueError(f"{path}: {min(twice)} stands in another file")
        messages.update(more)
    return {language: Catalogue(language, messages) for language, messages in found.items()}


def negotiate(accepted: str, languages: Mapping[str, Catalogue]) -> str:
    """Return the language that suits an `Accept-Language` header best (RFC 9110, section 12.5.4)."""
    by_primary = {tag.split("-")[0].lower(): tag for tag in languages}
    wishes: list[tuple[float, int, str]] = []
    for order, part in enumerate(accepted.split(",")[:20]):
        tag, _, parameter = part.partition(";")
        wishes.append((-_quality(parameter), order, tag.strip().split("-")[0].lower()))
    for negative_quality, _, primary in sorted(wishes):
        if negative_quality < 0 and primary in by_primary:
            return by_primary[primary]
    return DEFAULT


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
