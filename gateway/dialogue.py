"""Which messages go to the model: every one is examined, the new one decides, earlier blocked ones stay behind.

A client of the API resends its whole history; a message that was blocked once must neither reach the model later nor
jam the conversation. So only the new message and system messages can block a turn; an earlier message that the policy
would block is left out together with the answer that followed it.
"""

import asyncio

import msgspec

from gateway.turn_events import TurnRequest
from inference.ports import Message, Role
from safety.ports import Direction, SafetyLayer, TurnContext
from safety.pseudonyms import Pseudonyms
from safety.verdict import Decision


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


async def examine_dialogue(safety: SafetyLayer, request: TurnRequest) -> ExaminedDialogue:
    """Examine every message of the request (identical texts are cached by the classifier)."""
    messages = request.messages
    groups = request.principal.groups
    history = TurnContext(direction=Direction.INPUT, groups=groups)
    earlier = await asyncio.gather(*(safety.examine(message.content, history) for message in messages[:-1]))
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
