"""What a kind of record means in the words of the Elastic Common Schema (event.kind, category, type, outcome). Pure."""

import msgspec

from audit.record import Entry, Kind


class Meaning(msgspec.Struct, frozen=True):
    """ECS's categorisation of a record."""

    category: tuple[str, ...]
    type: tuple[str, ...]
    outcome: str = "success"
    kind: str = "event"
    """`alert` where somebody should look."""


_API, _SIGN_IN, _READING, _GOVERNING = ("api",), ("authentication",), ("database",), ("configuration",)
_ALLOWED, _DENIED = ("access", "allowed"), ("access", "denied")

_MEANINGS = {
    Kind.TURN_ACCEPTED: Meaning(_API, _ALLOWED),
    Kind.TURN_RELEASED: Meaning(_API, _ALLOWED),
    Kind.TURN_COMPLETED: Meaning(_API, _ALLOWED),
    Kind.TURN_BLOCKED: Meaning(_API, _DENIED, "failure", "alert"),
    Kind.TURN_ABORTED: Meaning(_API, ("access", "error"), "failure"),
    Kind.TURN_INTERRUPTED: Meaning(_API, ("access", "error"), "failure"),
    Kind.TURN_REFUSED: Meaning(_API, _DENIED, "failure"),
    Kind.TURN_MIRRORED: Meaning(_API, ("info",)),
    Kind.LOGIN: Meaning(_SIGN_IN, ("start",)),
    Kind.LOGIN_FAILED: Meaning(_SIGN_IN, ("start", "denied"), "failure"),
    Kind.LOGOUT: Meaning(_SIGN_IN, ("end",)),
    Kind.ACCESS_SEARCH: Meaning(_READING, _ALLOWED),
    Kind.ACCESS_READ: Meaning(_READING, _ALLOWED),
    Kind.ACCESS_EXPORT: Meaning(_READING, _ALLOWED),
    Kind.ACCESS_DENIED: Meaning(_READING, _DENIED, "failure", "alert"),
    Kind.FEEDBACK_GIVEN: Meaning(_API, ("creation",)),
    Kind.SUBJECT_ERASED: Meaning(_GOVERNING, ("deletion",)),
    Kind.RETENTION_PRUNED: Meaning(_GOVERNING, ("deletion",)),
    Kind.CHECKPOINT_ANCHORED: Meaning(_GOVERNING, ("info",)),
}
_OTHERWISE = Meaning(_GOVERNING, ("change",))
_BLOCKED_ON_THE_WAY_IN = Meaning(_API, _DENIED, "failure")


def meaning_of(entry: Entry) -> Meaning:
    """Return what a record means; kinds without a line of their own are changes of how Attest is governed."""
    if entry.kind is Kind.TURN_ACCEPTED and entry.verdict in {"block", "escalate"}:
        return _BLOCKED_ON_THE_WAY_IN
    return _MEANINGS.get(entry.kind, _OTHERWISE)
