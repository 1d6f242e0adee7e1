"""Turns of the chat page: a message in, server-sent events out; and what people think of the answers."""

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, SkipValidation

from audit.ports import AuditLog, AuditUnavailableError
from audit.record import Content, Entry, Kind, user_agent
from gateway.auth.access import own_only
from gateway.auth.principal import Principal, Role
from gateway.history.records import RUNNING, StoredMessage
from gateway.history.store import HistoryStore
from gateway.http.chat_types import CONVERSATION_ID, Appeal, Feedback, NewTurn
from gateway.http.sse import with_heartbeat
from gateway.models import ModelCatalogue
from gateway.problems import AuditUnavailableProblemError, ConflictError, NotFoundError
from gateway.review.desk import ReviewDesk
from gateway.settings import Settings
from gateway.turn import TurnService
from gateway.turn_events import Surface, TurnRequest
from gateway.usage.tokens import likely_tokens
from gateway.web.pages import Pages
from gateway.web.stream_response import EventStreamResponse
from gateway.web.turn_feed import TurnFeed
from inference.ports import Message
from inference.ports import Role as Speaker

CONTEXT_CHARS = 12_000
"""Most characters of earlier exchanges that a turn sends along, however many tokens a model takes."""
ANSWER_TOKENS = 1024
"""Room that is left for an answer, at most a quarter of what the model takes (as the inference tier does it)."""

ChatRequest = Request[Any, Any, Any]
Id = Annotated[str, PathParameter(pattern=CONVERSATION_ID)]


@post("/chat/{conversation_id:str}/turns", **own_only(Role.STAFF), tags=["chat page"], status_code=200)
async def new_turn(
    request: ChatRequest,
    data: JSONBody[NewTurn],
    conversation_id: Id,
    turns: NamedDependency[SkipValidation[TurnService]],
    history: NamedDependency[HistoryStore],
    catalogue: NamedDependency[SkipValidation[ModelCatalogue]],
    pages: NamedDependency[Pages],
    settings: NamedDependency[Settings],
) -> EventStreamResponse:
    """Run a turn and stream it as server-sent events `started`, `released`, `ended` or `problem`.

    Closing the connection stops the turn. A turn that may not start is a problem document instead.
    """
    principal: Principal = request.user
    text = data.checked(settings.message_limit_chars)
    if await history.conversation(principal.subject, conversation_id) is None:
        raise NotFoundError("There is no such conversation.")
    repeated = await _repeated(history, principal.subject, conversation_id, data.answer) if data.regenerate else None
    message, model = repeated.text if repeated else text, await catalogue.resolve("")
    earlier = await history.context(
        conversation_id,
        messages=settings.history_limit_messages - 1,
        characters=CONTEXT_CHARS,
        tokens=_room(catalogue.context(model), message),
        without_turn=repeated.turn_id if repeated else "",
    )
    turn = TurnRequest(
        principal=principal,
        surface=Surface.PAGE,
        streamed=True,
        messages=(*earlier, Message(Speaker.USER, message)),
        model=model,
        max_tokens=ANSWER_TOKENS,
        conversation_id=conversation_id,
        source_ip=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", ""),
    )
    feed = TurnFeed(turns, history, pages.view(request), turn, replaces=repeated.turn_id if repeated else "")
    await feed.open()
    return EventStreamResponse(with_heartbeat(feed.events()), feed.close)


def _room(context: int, message: str) -> int | None:
    """Return the tokens that earlier exchanges may have beside a message; None where the model's bound is not known."""
    return context - min(ANSWER_TOKENS, context // 4) - likely_tokens(message) if context else None


async def _repeated(history: HistoryStore, subject: str, conversation_id: str, answer_id: str) -> StoredMessage:
    last = await history.last_user_message(conversation_id)
    if last is None:
        raise ConflictError("There is no message yet that could be answered again.")
    answer = await history.message(subject, answer_id) if answer_id else None
    if answer_id and (answer is None or answer.turn_id != last.turn_id):
        raise ConflictError("The conversation went on elsewhere, and that answer is not the last one: reload the page.")
    return last


@post("/chat/messages/{message_id:str}/feedback", **own_only(Role.STAFF), tags=["chat page"], status_code=204)
async def give_feedback(
    request: ChatRequest,
    data: JSONBody[Feedback],
    message_id: Id,
    history: NamedDependency[HistoryStore],
    audit: NamedDependency[SkipValidation[AuditLog]],
) -> None:
    """Take what a person thinks of an answer: on record first, then in the history."""
    principal: Principal = request.user
    feedback = data.checked()
    answer = await history.message(principal.subject, message_id)
    if answer is None or answer.role != Speaker.ASSISTANT:
        raise NotFoundError("There is no such answer.")
    if answer.outcome == RUNNING:
        raise ConflictError("The answer is still being written.")
    try:
        await audit.append(_feedback_entry(principal, answer, feedback, request))
    except AuditUnavailableError as error:
        raise AuditUnavailableProblemError("The audit log cannot take the rating now.", retry_after=5) from error
    await history.rate(answer.id, feedback.rating, feedback.comment)


@post("/chat/messages/{message_id:str}/appeal", **own_only(Role.STAFF), tags=["chat page"], status_code=204)
async def contest(
    request: ChatRequest,
    data: JSONBody[Appeal],
    message_id: Id,
    history: NamedDependency[HistoryStore],
    reviews: NamedDependency[SkipValidation[ReviewDesk]],
) -> None:
    """Contest a block: it is on record and in the reviewers' queue when this returns. Again with a comment: adds it."""
    principal: Principal = request.user
    answer = await history.message(principal.subject, message_id)
    if answer is None or answer.role != Speaker.ASSISTANT:
        raise NotFoundError("There is no such answer.")
    await reviews.appeal(principal.subject, answer, data.comment)


def _feedback_entry(principal: Principal, answer: StoredMessage, feedback: Feedback, request: ChatRequest) -> Entry:
    return Entry(
        kind=Kind.FEEDBACK_GIVEN,
        at=datetime.now(UTC),
        subject=principal.subject,
        name=principal.name,
        groups=principal.groups,
        roles=tuple(sorted(principal.roles)),
        turn_id=answer.turn_id,
        conversation_id=answer.conversation_id,
        surface=Surface.PAGE,
        source_ip=request.client.host if request.client else "",
        user_agent=user_agent(request.headers.get("user-agent", "")),
        detail={"rating": feedback.rating},
        contents=(Content("comment", "user", feedback.comment),) if feedback.comment else (),
    )


chat_turn_routes = [new_turn, give_feedback, contest]
