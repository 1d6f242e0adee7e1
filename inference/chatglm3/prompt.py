"""A dialogue → the ids of ChatGLM3's prompt.

`[gMASK] sop`, then for each message its role, its metadata line (the tool's name; empty in plain chat) and its content,
encoded apart; last the assistant's role, which asks for a reply.
"""

from collections.abc import Mapping, Sequence

from inference.chatglm3.tokenizer import Tokenizer
from inference.ports import Message, Role


def build(tokenizer: Tokenizer, messages: Sequence[Message], metadata: Mapping[int, str] | None = None) -> list[int]:
    """Return the ids of the whole prompt. Raises ValueError when a text is not valid Unicode.

    `metadata` has the metadata lines that are not empty, by the message's place.
    """
    lines = metadata or {}
    parts = [part(tokenizer, message, lines.get(place, "")) for place, message in enumerate(messages)]
    return join(tokenizer, parts)


def join(tokenizer: Tokenizer, parts: Sequence[list[int]]) -> list[int]:
    """Return the ids of the whole prompt from those of its messages."""
    special = tokenizer.specials
    return [special.gmask, special.sop, *(index for ids in parts for index in ids), special.assistant]


def part(tokenizer: Tokenizer, message: Message, metadata: str = "") -> list[int]:
    """Return the ids of one message. Raises ValueError when a text is not valid Unicode."""
    special = tokenizer.specials
    opening = {
        Role.SYSTEM: special.system,
        Role.USER: special.user,
        Role.ASSISTANT: special.assistant,
        Role.OBSERVATION: special.observation,
    }[message.role]
    return [opening, *tokenizer.encode(metadata + "\n"), *tokenizer.encode(message.content)]


def shortest(tokenizer: Tokenizer, messages: Sequence[Message]) -> int:
    """Return a lower bound of the prompt's length in tokens, without encoding anything."""
    return sum(-(-len(message.content) // tokenizer.longest_piece) for message in messages)
