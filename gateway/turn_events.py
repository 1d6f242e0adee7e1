"""What goes into a turn and what comes out of it: the values that every surface shares."""

from enum import StrEnum

import msgspec

from gateway.auth.principal import Principal
from gateway.usage.allowance import BudgetNotice
from inference.ports import Message, Usage


class Surface(StrEnum):
    """Where a turn came from. The verdict never depends on it; a matrix test proves that."""

    PAGE = "page"
    API = "api"


class TurnRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One turn as a surface asks for it. `messages` ends with the new user message; bounds were checked."""

    principal: Principal
    surface: Surface
    streamed: bool
    messages: tuple[Message, ...]
    model: str
    conversation_id: str = ""
    max_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 0.9
    stop: tuple[str, ...] = ()
    seed: int | None = None
    source_ip: str = ""
    user_agent: str = ""


class TurnStarted(msgspec.Struct, frozen=True, tag="started"):
    """`turn.accepted` is durable; the model is asked now."""

    turn_id: str
    message_redacted: bool = False
    """Something in the new message was replaced before it went to the model."""


class TextReleased(msgspec.Struct, frozen=True, tag="released"):
    """A stretch of the answer that was examined and whose record is durable: it may be shown."""

    text: str


class Outcome(StrEnum):
    """How a turn ended."""

    COMPLETED = "completed"
    BLOCKED = "blocked"
    ABORTED = "aborted"


class TurnEnded(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """The closing record is durable. A refused turn has only this event (and possibly `TurnStarted`)."""

    turn_id: str
    outcome: Outcome
    reason: str = ""
    """Why it did not complete; empty when it did. One of
    `input_blocked | output_blocked | guard_failed | model_failed | model_changed | context_too_long | access_ended |
    client_gone | audit_unavailable | internal`."""
    categories: tuple[str, ...] = ()
    """Categories of the verdicts that blocked; for the person's panel and the API's `attest` object."""
    rules: tuple[str, ...] = ()
    """Rule ids of those verdicts, never a pattern."""
    redacted: bool = False
    """Something in the answer was replaced before it was shown."""
    left_out: int = 0
    """Earlier messages that did not go to the model, since the policy blocks them."""
    finish_reason: str = ""
    """`stop | length | content_filter`, OpenAI's words."""
    usage: Usage = Usage()
    duration_ms: int = 0
    budget: BudgetNotice | None = None
    """A budget that is nearly used up."""


TurnEvent = TurnStarted | TextReleased | TurnEnded
