"""A dialogue → the ids of its prompt, within the room that there is.

A dialogue that is too long is refused; where the request says so, its oldest turns are left out instead: never a system
message or the offer of tools, never what follows the last message of the user (a turn is that message and all up to
the next one).
"""

from collections.abc import Sequence

import msgspec

from inference.chatglm3 import prompt, tools
from inference.chatglm3.tokenizer import Tokenizer
from inference.errors import ContextOverflowError, RequestRefusedError
from inference.ports import ChatRequest, CompletionRequest, Role

_SHORTER = ': shorten them, or send "truncation": "auto"'


class Prompt(msgspec.Struct, frozen=True):
    """The ids of a prompt."""

    ids: list[int]
    left_out: int = 0
    """Messages that are not in it."""


def read(tokenizer: Tokenizer, request: ChatRequest, room: int) -> Prompt:
    """Return the prompt of at most `room` - 1 tokens. Raises `ContextOverflowError` or `RequestRefusedError`.

    When turns are left out, room stays for `max_tokens` or a quarter of the context, whichever is less.
    """
    lines = tools.spread(request.messages, request.tools)
    if not request.drop_oldest and _shortest(tokenizer, lines) >= room:
        what = "The messages and tools" if request.tools else "The messages"
        raise ContextOverflowError(f"{what} are longer than the context of {room} tokens{_SHORTER}.")
    try:
        if not request.drop_oldest:
            ids = prompt.join(tokenizer, [_ids(tokenizer, each) for each in lines])
            left_out = 0
        else:
            ids, left_out = _newest(tokenizer, lines, room - min(request.max_tokens, room // 4))
    except ValueError:
        raise RequestRefusedError("A message is not valid Unicode.", param="messages") from None
    if len(ids) >= room:
        raise ContextOverflowError(
            f"The messages have {len(ids)} tokens, which leaves no room in the context of {room}"
            f"{'' if request.drop_oldest else _SHORTER}."
        )
    return Prompt(ids, left_out)


def continued(tokenizer: Tokenizer | None, request: CompletionRequest, *, vocabulary: int, room: int) -> list[int]:
    """Return the ids of a prompt that is continued as it stands, at most `room` - 1; takes time for a long text.

    A text gets the two ids that every text of the model begins with. Without a tokenizer only ids are taken. Raises
    `ContextOverflowError` or `RequestRefusedError`.
    """
    given = request.prompt
    if not isinstance(given, str):
        if any(index >= vocabulary for index in given):
            raise RequestRefusedError(f"Token ids must be below {vocabulary}.", param="prompt")
        if tokenizer is None and request.stop:
            raise _without_tokenizer("there is no text to stop at", "stop")
        ids = list(given)
    elif tokenizer is None:
        raise _without_tokenizer("send token ids", "prompt")
    elif -(-len(given) // tokenizer.longest_piece) >= room:
        raise ContextOverflowError(f"The prompt is longer than the context of {room} tokens.", "prompt")
    else:
        try:
            ids = [tokenizer.specials.gmask, tokenizer.specials.sop, *tokenizer.encode(given)]
        except ValueError:
            raise RequestRefusedError("The prompt is not valid Unicode.", param="prompt") from None
    if len(ids) >= room:
        raise ContextOverflowError(
            f"The prompt has {len(ids)} tokens, which leaves no room in the context of {room}.", "prompt"
        )
    return ids


def _without_tokenizer(said: str, param: str) -> RequestRefusedError:
    return RequestRefusedError(f"This model has no tokenizer: {said}.", code="no_tokenizer", param=param)


def _ids(tokenizer: Tokenizer, lines: Sequence[tools.Line]) -> list[int]:
    return [index for line in lines for index in prompt.part(tokenizer, line.message, line.metadata)]


def _shortest(tokenizer: Tokenizer, lines: Sequence[Sequence[tools.Line]]) -> int:
    return prompt.shortest(tokenizer, [line.message for each in lines for line in each])


def _newest(tokenizer: Tokenizer, lines: list[list[tools.Line]], room: int) -> tuple[list[int], int]:
    """Return the ids of what fits, and how many messages do not; nothing that cannot fit is encoded."""
    kept: dict[int, list[int]] = {}
    used = len(prompt.join(tokenizer, []))
    roles = [each[0].message.role for each in lines]
    turns = _turns(roles)
    always = {place for place, role in enumerate(roles) if role is Role.SYSTEM} | set(turns[-1])
    for group in (sorted(always), *reversed(turns[:-1])):
        added = [place for place in group if place not in kept]
        if used + _shortest(tokenizer, [lines[place] for place in added]) > room:
            break
        encoded = {place: _ids(tokenizer, lines[place]) for place in added}
        used += sum(len(ids) for ids in encoded.values())
        if used > room:
            break
        kept |= encoded
    if not always <= kept.keys():
        raise ContextOverflowError(f"System messages and the last turn alone are longer than {room} tokens.")
    return prompt.join(tokenizer, [kept[place] for place in sorted(kept)]), len(lines) - len(kept)


def _turns(roles: Sequence[Role]) -> list[list[int]]:
    """Return the places of each turn's messages, oldest first; a message of the user opens a turn."""
    found: list[list[int]] = [[]]
    for place, role in enumerate(roles):
        if role is Role.SYSTEM:
            continue
        if role is Role.USER and found[-1]:
            found.append([])
        found[-1].append(place)
    return found
