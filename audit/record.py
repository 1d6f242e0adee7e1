"""The records of the audit log: one frozen type per kind, none of which holds text of a turn.

Texts (what was typed, generated, withheld, delivered) go beside the record as `Content`, stored apart and encrypted;
the record's leaf holds a commitment to each. Times are UTC; ids are UUIDv7 in their usual string form.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

LONGEST_AGENT = 512
"""Most characters of a client's own name in a record."""


def user_agent(said: str) -> str:
    """Return what a record holds of the name that a client gives itself: anybody may write anything there."""
    return "".join(c for c in said[: 4 * LONGEST_AGENT] if c.isprintable())[:LONGEST_AGENT]


class Kind(StrEnum):
    """Every kind of record. docs/events.md describes each; a test compares."""

    TURN_ACCEPTED = "turn.accepted"
    TURN_RELEASED = "turn.released"
    TURN_COMPLETED = "turn.completed"
    TURN_BLOCKED = "turn.blocked"
    TURN_ABORTED = "turn.aborted"
    TURN_INTERRUPTED = "turn.interrupted"
    TURN_REFUSED = "turn.refused"
    TURN_MIRRORED = "turn.mirrored"
    LOGIN = "login"
    LOGIN_FAILED = "login.failed"
    LOGOUT = "logout"
    SESSION_ENDED = "session.ended"
    PERSON_DISABLED = "person.disabled"
    PERSON_RESTORED = "person.restored"
    PERSON_MOVED = "person.moved"
    DIRECTORY_CHANGED = "directory.changed"
    API_KEY_CREATED = "api_key.created"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_REVOKED = "api_key.revoked"
    ACCESS_SEARCH = "access.search"
    ACCESS_READ = "access.read"
    ACCESS_EXPORT = "access.export"
    ACCESS_DENIED = "access.denied"
    FEEDBACK_GIVEN = "feedback.given"
    POLICY_ACTIVATED = "policy.activated"
    POLICY_PROPOSED = "policy.proposed"
    MODEL_ACTIVATED = "model.activated"
    HOLD_PLACED = "hold.placed"
    HOLD_RELEASED = "hold.released"
    SUBJECT_ERASED = "subject.erased"
    RETENTION_PRUNED = "retention.pruned"
    KEY_ROTATED = "key.rotated"
    CHECKPOINT_ANCHORED = "checkpoint.anchored"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_DECIDED = "approval.decided"
    APPEAL_OPENED = "appeal.opened"
    REVIEW_ASSIGNED = "review.assigned"
    REVIEW_COMMENTED = "review.commented"
    REVIEW_LABELLED = "review.labelled"
    REVIEW_DECIDED = "review.decided"
    CASE_OPENED = "case.opened"
    CASE_COLLECTED = "case.collected"
    CASE_NOTED = "case.noted"
    CASE_CLOSED = "case.closed"
    LOG_VERIFIED = "log.verified"


CLOSING_KINDS = frozenset(
    {Kind.TURN_COMPLETED, Kind.TURN_BLOCKED, Kind.TURN_ABORTED, Kind.TURN_INTERRUPTED, Kind.TURN_REFUSED}
)
"""The kinds that end a turn."""


class FindingRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finding and what the policy made of it."""

    guard: str
    rule: str
    category: str
    start: int
    end: int
    score: float
    threshold: float
    band: str
    action: str
    where: str = ""
    """Which text the span counts in: `message`, `context.N` (Nth message before it) or `answer`."""
    shadow: bool = False


class StageRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one stage did: `ran | skipped | error | timed_out`, and how many characters it examined."""

    stage: str
    """For instance `input.filters.personal_data`, `output.classifier`."""
    status: str
    characters: int
    milliseconds: float
    version: str = ""
    error: str = ""


class Content(msgspec.Struct, frozen=True):
    """One text that belongs to a record; kept encrypted, apart from the leaf."""

    name: str
    """Which text it is: `message`, `system`, `generated`, `withheld`, `delivered`, `comment` …"""
    role: str
    text: str


class Commitment(msgspec.Struct, frozen=True):
    """What a leaf says of one text: enough to prove the text later, nothing from which it could be guessed."""

    name: str
    role: str
    characters: int
    """Code points of the text."""
    commitment: str
    """SHA-256, as hex, over a random 32-byte nonce and the text; the nonce is kept encrypted with the text."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record to be appended. Fields that a kind does not use stay empty and are left out of the leaf."""

    kind: Kind
    at: datetime
    subject: str
    """The person (or service) it is about: the provider's stable subject; `anonymous` where nobody is signed in."""
    turn_id: str = ""
    conversation_id: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    surface: str = ""
    """`page | api`, with `.stream` where the answer is streamed."""
    source_ip: str = ""
    user_agent: str = ""
    trace_id: str = ""
    model: str = ""
    model_revision: str = ""
    verdict: str = ""
    """`allow | flag | redact | pseudonymise | escalate | block | refused`: what became of the turn so far."""
    reason: str = ""
    """Stable code of the cause: `input_blocked`, `output_blocked`, `rate_limited`, `client_gone` …"""
    categories: tuple[str, ...] = ()
    policy_hash: str = ""
    classifier_hash: str = ""
    normaliser_version: str = ""
    stages: tuple[StageRecord, ...] = ()
    findings: tuple[FindingRecord, ...] = ()
    offset: int = 0
    """`turn.released`: code points of the answer delivered before this stretch."""
    length: int = 0
    """`turn.released`: code points that this stretch delivers."""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    duration_ms: int = 0
    first_release_ms: int = 0
    parameters: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    """Request parameters as sent to the model (`temperature` …); never text."""
    detail: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    """What only one kind needs (`limit` of a refusal, `rating` of a feedback …); documented in docs/events.md."""
    context: tuple[str, ...] = ()
    """`turn.accepted`: the dialogue sent to the model, as ids of texts in order (filled in by the log)."""
    contents: tuple[Content, ...] = ()
    """Texts of this record; they are taken out of the leaf and replaced by commitments."""
    dialogue: tuple[Content, ...] = ()
    """`turn.accepted`: the full context sent to the model, each text stored once per subject; never in the leaf."""
    entry_id: str = ""
    """UUIDv7 of the record, given by the log; what a caller puts here is not used."""
    commitments: tuple[Commitment, ...] = ()
    """One for each of `contents`, in order; made by the log."""
    escaped: bool = False
    """Some text of the leaf held a lone surrogate: see `audit.canonical.escape`. Always false in an entry read back."""


class Receipt(msgspec.Struct, frozen=True):
    """Proof for the caller that a record is durable."""

    entry_id: str
    leaf_hash: str
