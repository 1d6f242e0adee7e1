"""Which messages go to the model: every one is examined, the new one decides, earlier blocked ones stay behind.

A client of the API resends its whole history; a message that was blocked once must neither reach the model later nor
jam the conversation. So only the new message and system messages can block a turn; an earlier message that the policy
would block is left out together with the answer that followed it. One that no guard could judge in time is neither: the
turn is refused, since an answer without its history would look like any other.
"""

from contextlib import aclosing

import msgspec

from gateway.bulk import Bulk
from gateway.problems import GuardsLateError
from gateway.turn_events import TurnRequest
from gateway.turn_records import blocking
from inference.ports import Message, Role
from safety.ports import Direction, SafetyLayer, TurnContext
from safety.pseudonyms import Pseudonyms
from safety.verdict import Decision, StageStatus


class ExaminedDialogue(msgspec.Struct, frozen=True):
    """What came of the dialogue before the model is asked."""

    decisions: tuple[Decision, ...]
    """One for each message of the request, in order."""
    context: tuple[Message, ...]
    """What the model is sent: redacted, without blocked messages."""
    deciding: Decision
    """The decision that rules the turn: of the new message, or of a system message that is stricter."""
    left_out: int
    """Earlier messages that stay behind."""
    pseudonyms: Pseudonyms
    """What the placeholders in `context` stand for; for the answer, never for a record."""


async def examine_dialogue(safety: SafetyLayer, request: TurnRequest, bulk: Bulk) -> ExaminedDialogue:
    """Examine every message of the request (identical texts are cached by the classifier).

    Raises `GuardsLateError` where a guard was late over an earlier message, `OverloadedError` where too many wait.
    """
    messages = request.messages
    groups = request.principal.groups
    history = TurnContext(direction=Direction.INPUT, groups=groups)
    earlier: list[Decision] = []
    async with aclosing(bulk.examine(safety, [message.content for message in messages[:-1]], history)) as decided:
        async for decision in decided:
            if _late(decision):
                raise GuardsLateError(retry_after=5)
            earlier.append(decision)
    allowed = tuple(
        message.content
        for message, decision in zip(messages[:-1], earlier, strict=True)
        if message.role is Role.USER and not decision.blocked
    )
    newest = await safety.examine(
        messages[-1].content,
        TurnContext(direction=Direction.INPUT, groups=groups, window=allowed),
    )
    decisions = (*earlier, newest)
    pseudonyms = Pseudonyms(message.content for message in messages)
    context, left_out = _context(messages, decisions, pseudonyms)
    return ExaminedDialogue(
        decisions=decisions,
        context=context,
        deciding=_deciding(messages, decisions),
        left_out=left_out,
        pseudonyms=pseudonyms,
    )


def _late(decision: Decision) -> bool:
    """Whether a text may not pass only because a guard was late: it may be harmless, and nobody knows."""
    late = any(examination.status is StageStatus.TIMED_OUT for examination in decision.examinations)
    return late and decision.blocked and not blocking(decision)[0]


def _deciding(messages: tuple[Message, ...], decisions: tuple[Decision, ...]) -> Decision:
    for message, decision in zip(messages, decisions, strict=True):
        if message.role is Role.SYSTEM and decision.blocked:
            return decision
    return decisions[-1]


def _context(
    messages: tuple[Message, ...], decisions: tuple[Decision, ...], pseudonyms: Pseudonyms
) -> tuple[tuple[Message, ...], int]:
    kept: list[Message] = []
    dropping = False
    for message, decision in zip(messages, decisions, strict=True):
        # The answer to a message that stays behind goes with it.
        dropping = decision.blocked or (dropping and message.role not in (Role.USER, Role.SYSTEM))
        if not dropping:
            kept.append(Message(role=message.role, content=pseudonyms.apply(decision, message.content)))
    return tuple(kept), len(messages) - len(kept)
