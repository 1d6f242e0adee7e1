"""Finding, verdict, decision: three things that other products fold into one.

A *finding* says what a guard saw and where. A *verdict* says what the policy makes of one finding (its band). A
*decision* says what is done with the text. None of them holds any of the text itself, so all three may be recorded,
traced and logged.
"""

from enum import StrEnum

import msgspec


class Category(StrEnum):
    """What a finding is about. The first eight are the classifier's labels, the rest come from filters."""

    HATE = "hate"
    HARASSMENT = "harassment"
    SEXUAL = "sexual"
    VIOLENCE = "violence"
    SELF_HARM = "self_harm"
    ILLEGAL = "illegal"
    PRIVACY = "privacy"
    PROMPT_ATTACK = "prompt_attack"
    PERSONAL_DATA = "personal_data"
    SECRET = "secret"  # noqa: S105 - a category's name
    COMPANY = "company"
    OUTPUT_REVIEW = "output_review"


class StageStatus(StrEnum):
    """What became of a stage. There is no 'passed': only a stage that `ran` may speak for the text."""

    RAN = "ran"
    SKIPPED = "skipped"
    ERROR = "error"
    TIMED_OUT = "timed_out"


class Band(StrEnum):
    """Where a score falls between the policy's two thresholds for its category."""

    ALLOW = "allow"
    UNCERTAIN = "uncertain"
    BLOCK = "block"


class Action(StrEnum):
    """What is done with a text, weakest first: `max` by `severity_of` picks the one that rules."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    PSEUDONYMISE = "pseudonymise"
    ESCALATE = "escalate"
    BLOCK = "block"


_STRICTNESS = {action: rank for rank, action in enumerate(Action)}


def severity_of(action: Action) -> int:
    """Rank of an action; the strictest of several is the one that is carried out."""
    return _STRICTNESS[action]


class Severity(StrEnum):
    """How grave a rule's author thinks a hit is; the policy may answer each degree differently."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Finding(msgspec.Struct, frozen=True):
    """What one guard saw: where in the *original* text, under which rule, how surely. Never the text itself."""

    guard: str
    rule: str
    category: Category
    start: int
    """First code point of the span in the original text."""
    end: int
    """One past the last code point of the span in the original text."""
    score: float
    """0 to 1; a filter rule says 1.0, the classifier its calibrated probability."""
    severity: Severity = Severity.HIGH
    """The rule's own degree; a classifier leaves it, since its score speaks."""


class Examination(msgspec.Struct, frozen=True):
    """One guard's account of one text."""

    guard: str
    version: str
    """Content hash of what decided: the rule pack, the word list, the model file."""
    status: StageStatus
    characters: int
    """Code points of the original text that were examined; 0 unless the guard ran."""
    findings: tuple[Finding, ...] = ()
    milliseconds: float = 0.0
    error: str = ""
    """Class of the error, never its message (which could quote the text)."""


class Verdict(msgspec.Struct, frozen=True):
    """What the policy makes of one finding."""

    finding: Finding
    band: Band
    threshold: float
    action: Action
    shadow: bool = False
    """The rule is on trial: recorded, not enforced."""


class Redaction(msgspec.Struct, frozen=True):
    """A span of the original text and what stands in its place."""

    start: int
    end: int
    placeholder: str
    restorable: bool = False
    """The real value comes back in the answer (`safety.pseudonyms`)."""


class Decision(msgspec.Struct, frozen=True):
    """What is done with a text, and everything that led to it."""

    action: Action
    verdicts: tuple[Verdict, ...]
    examinations: tuple[Examination, ...]
    policy_hash: str
    normaliser_version: str
    redactions: tuple[Redaction, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether the text may not pass: blocked by a verdict, or by a stage that failed."""
        return self.action in (Action.BLOCK, Action.ESCALATE)

    def apply(self, text: str) -> str:
        """Return `text` with its redactions cut in; `text` must be the one that was examined."""
        out: list[str] = []
        at = 0
        for cut in self.redactions:
            out += [text[at : cut.start], cut.placeholder]
            at = cut.end
        return "".join([*out, text[at:]])
