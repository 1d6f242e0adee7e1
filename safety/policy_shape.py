"""The shape of a policy file: frozen structs that refuse unknown fields."""

from enum import StrEnum
from typing import Annotated

import msgspec

from safety.ports import Direction
from safety.verdict import Action, Category, Severity

CLASSIFIER = "classifier"
"""Name of the guard whose findings are judged by thresholds instead of rules."""
SECOND_OPINION = "second_opinion"
"""Name of the stage in which a language model judges what the classifier is unsure of."""
FILTERED = (
    Category.PERSONAL_DATA,
    Category.SECRET,
    Category.COMPANY,
    Category.OUTPUT_REVIEW,
    Category.PROMPT_ATTACK,
)
"""Categories that filter rules report."""
CLASSIFIED = tuple(Category)[:8]
"""Categories that the classifier scores."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Mode(StrEnum):
    """Whether a rule is carried out or only recorded."""

    SHADOW = "shadow"
    ENFORCE = "enforce"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the policy file: frozen, no unknown fields."""


class BySeverity(_Part, frozen=True, forbid_unknown_fields=True):
    """An action for each degree."""

    low: Action
    medium: Action
    high: Action


class CategoryRule(_Part, frozen=True, forbid_unknown_fields=True):
    """What is done about filter findings of one category that no rule entry names."""

    input: Action | BySeverity
    output: Action | BySeverity
    placeholder: str = "[REDACTED]"


class RuleEntry(_Part, frozen=True, forbid_unknown_fields=True):
    """What is done about one rule; what is left out comes from its category."""

    input: Action | None = None
    output: Action | None = None
    mode: Mode | None = None
    placeholder: str | None = None


class Thresholds(_Part, frozen=True, forbid_unknown_fields=True):
    """The two bands of one classifier category."""

    uncertain: Share
    block: Share
    uncertain_action: Action = Action.FLAG
    block_action: Action = Action.BLOCK
    mode: Mode = Mode.ENFORCE


class WordList(_Part, frozen=True, forbid_unknown_fields=True):
    """A company's own words: projects, customers, code names."""

    words: tuple[str, ...]
    allow: tuple[str, ...] = ()
    """Longer harmless words that hold one of them."""
    severity: Severity = Severity.MEDIUM


class Failures(_Part, frozen=True, forbid_unknown_fields=True):
    """What is done when a guard raises or times out."""

    default: Action = Action.BLOCK
    guards: dict[str, Action] = {}


class SecondOpinionRule(_Part, frozen=True, forbid_unknown_fields=True):
    """Whether a language model judges what falls between the classifier's thresholds."""

    enabled: bool = False
    mode: Mode = Mode.ENFORCE
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    url: str = ""
    """OpenAI-compatible server (ends in `/v1`) that judges; empty: the inference tier that answers."""
    model: str = ""
    """Model that judges; empty: the one that the chat page asks for."""


class SampleRule(_Part, frozen=True, forbid_unknown_fields=True):
    """Whether texts that reviewers labelled may be used for training."""

    allowed: bool = False
    without_groups: tuple[str, ...] = ()
    """Groups whose members' texts are never used."""


class Override(_Part, frozen=True, forbid_unknown_fields=True):
    """What one group's members get instead of the floor: only ever stricter."""

    categories: dict[Category, CategoryRule] = {}
    rules: dict[str, RuleEntry] = {}
    classifier: dict[Category, Thresholds] = {}
    failures: Failures | None = None


class Policy(_Part, frozen=True, forbid_unknown_fields=True):
    """The whole policy. `policy_hash(policy)` identifies it."""

    version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    categories: dict[Category, CategoryRule]
    classifier: dict[Category, Thresholds] = {}
    """A category that is left out takes the thresholds that the model was shipped with (`policy.complete`)."""
    rules: dict[str, RuleEntry] = {}
    failures: Failures = Failures()
    second_opinion: SecondOpinionRule = SecondOpinionRule()
    company: dict[str, WordList] = {}
    samples: SampleRule = SampleRule()
    groups: dict[str, Override] = {}


def category_action(rule: CategoryRule, direction: Direction, severity: Severity) -> Action:
    """Return what a category rule does about a finding of that degree going that way."""
    action = rule.input if direction is Direction.INPUT else rule.output
    return action if isinstance(action, Action) else Action(getattr(action, severity))


def category_of_rule(name: str) -> Category | None:
    """Return the category that a rule's id begins with (`secret.jwt`)."""
    prefix = name.partition(".")[0]
    return Category(prefix) if prefix in set(Category) else None
