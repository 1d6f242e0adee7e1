"""Rules are data: what a pack in `safety/rules/*.yaml` may say, read and checked."""

import hashlib
from pathlib import Path

import msgspec
import yaml

from safety.verdict import Category, Severity

RULES = Path(__file__).parent.parent / "rules"
_FINDING = b"6"
"""How rules find: validators, places, allowances. Raised with every change of that, so that a record tells what looked
at its text, and a replay does not call other findings of another release a difference."""


class RuleError(ValueError):
    """A rule pack that cannot be used; the message names the rule and what to mend."""


class Title(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people are told that a rule is about; never its pattern."""

    en: str
    zh: str


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: a pattern or a list of words."""

    id: str
    """`category.name`, unique in all packs; it stands in records and in the policy."""
    title: Title
    category: Category
    language: str
    """`zh | en | any`; for people who read the rule, matching does not look at it."""
    severity: Severity
    match: tuple[str, ...]
    """Texts that must be hit."""
    no_match: tuple[str, ...]
    """Texts that must not be hit: look-alikes above all."""
    pattern: str = ""
    """RE2 pattern, matched against the normalised text."""
    group: int = 0
    """Capture group that is the finding; the rest of the pattern is context."""
    words: tuple[str, ...] = ()
    """Phrases, matched without regard to case, by their letters' second reading too (`1gn0re`)."""
    allow: tuple[str, ...] = ()
    """RE2 patterns: a finding that one of them matches whole is none (known examples, harmless words)."""
    validator: str = ""
    """Name of the check that a candidate must pass (see `validators.py`)."""
    checked: int = 1000
    """Candidates that are checked in one text; what comes after counts as a hit, so that time stays bounded."""
    decoded: bool = True
    """Whether texts hidden in encodings are looked through as well."""


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one guard."""

    pack: str
    rules: tuple[Rule, ...]


class LoadedPack(msgspec.Struct, frozen=True):
    """A pack, and a hash of the file that it was read from and of how its rules find."""

    rules: tuple[Rule, ...]
    version: str


def load_pack(path: Path) -> LoadedPack:
    """Read a pack; raise `RuleError` that names what is wrong."""
    raw = path.read_bytes()
    try:
        pack = msgspec.convert(yaml.safe_load(raw), Pack)
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise RuleError(f"{path.name}: {error}") from None
    seen: set[str] = set()
    for rule in pack.rules:
        if bool(rule.pattern) == bool(rule.words):
            raise RuleError(f"{path.name}: {rule.id}: a rule has either a pattern or words")
        if rule.id in seen or not rule.id.startswith(f"{rule.category}."):
            raise RuleError(f"{path.name}: {rule.id}: an id is its category, a dot and a name used once")
        if not rule.match or not rule.no_match:
            raise RuleError(f"{path.name}: {rule.id}: a rule has texts that must match and texts that must not")
        seen.add(rule.id)
    return LoadedPack(rules=pack.rules, version=hashlib.sha256(_FINDING + raw).hexdigest()[:16])
