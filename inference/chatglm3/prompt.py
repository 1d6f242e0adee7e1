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
    special = tokenizer.specials
    opening = {
        Role.SYSTEM: special.system,
        Role.USER: special.user,
        Role.ASSISTANT: special.assistant,
        Role.OBSERVATION: special.observation,
    }
    lines = metadata or {}
    ids = [special.gmask, special.sop]
    for place, message in enumerate(messages):
        ids.append(opening[message.role])
        ids += tokenizer.encode(lines.get(place, "") + "\n")
        ids += tokenizer.encode(message.content)
    ids.append(special.assistant)
    return ids


def shortest(tokenizer: Tokenizer, messages: Sequence[Message]) -> int:
    """Return a lower bound of the prompt's length in tokens, without encoding anything."""
    return sum(-(-len(message.content) // tokenizer.longest_piece) for message in messages)
