"""The chat page: its pages and parts, conversations, preferences. Thin: history stores, `gateway.web` renders."""

import asyncio
from typing import Annotated, Any

from litestar import MediaType, Request, delete, get, patch, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, PathParameter, QueryParameter, URLEncodedBody
from litestar.response import Redirect, Response

from gateway.auth.access import OWN_PAGE, PUBLIC, UNCHECKED, open_to, own_only
from gateway.auth.principal import Principal, Role
from gateway.auth.return_path import safe_return_path
from gateway.history.records import Conversation, StoredMessage
from gateway.history.store import LIST_LIMIT, PAGE_MESSAGES, HistoryStore
from gateway.http.chat_types import CONVERSATION_ID, ConversationMade, NewTitle, Preferences, TitleGiven
from gateway.problems import NotFoundError
from gateway.settings import Settings
from gateway.web.pages import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Pages, View

MODULES = (
    "js/appeals.js",
    "js/composer.js",
    "js/conversations.js",
    "js/dom.js",
    "js/feedback.js",
    "js/messages.js",
    "js/person.js",
    "js/server.js",
    "js/turns.js",
    "js/zone.js",
)
"""Scripts that `app.js` imports: named in the page so that the browser fetches all at once."""
PAGE_CHARS = 40_000
"""Text in the first load of a long conversation; earlier messages come when asked for."""
YEAR_S = 365 * 24 * 3600

ChatRequest = Request[Any, Any, Any]
Id = Annotated[str, PathParameter(pattern=CONVERSATION_ID)]


@get("/", **PUBLIC, include_in_schema=False)
async def home(
    request: ChatRequest, pages: NamedDependency[Pages], history: NamedDependency[HistoryStore]
) -> Response[Any]:
    """Show a new conversation, or lead to the sign-in."""
    return await _chat(request, pages, history, "")


@get("/c/{conversation_id:str}", **OWN_PAGE, include_in_schema=False)
async def conversation_page(
    request: ChatRequest,
    pages: NamedDependency[Pages],
    history: NamedDependency[HistoryStore],
    conversation_id: FromPath[str],
) -> Response[Any]:
    """Show one conversation, or lead to the sign-in."""
    return await _chat(request, pages, history, conversation_id)


async def _chat(request: ChatRequest, pages: Pages, history: HistoryStore, conversation_id: str) -> Response[Any]:
    view = pages.view(request)
    if view.principal is None:
        if (unchecked := request.scope["state"].get(UNCHECKED)) is not None:
            raise unchecked  # signing in again would help nobody: the session may well be there
        return Redirect("/auth/login", query_params={"next": request.url.path})
    if not view.may_chat:
        return view.page("problem.html", status=403, code="no-role")
    subject = view.principal.subject
    conversation = await history.conversation(subject, conversation_id) if conversation_id else None
    if conversation_id and conversation is None:
        raise NotFoundError("There is no such conversation.")
    messages = await history.messages(conversation.id) if conversation else ()
    return view.page(
        "chat.html",
        conversation=conversation,
        modules=MODULES,
        limit=pages.settings.message_limit_chars,
        **_list(await history.conversations(subject, limit=LIST_LIMIT + 1), conversation_id),
        **await _messages(view, messages, newest=True),
    )


@get("/chat/conversations", **open_to(Role.STAFF), include_in_schema=False)
async def conversation_list(
    request: ChatRequest,
    pages: NamedDependency[Pages],
    history: NamedDependency[HistoryStore],
    current: FromQuery[str] = "",
    before: FromQuery[str] = "",
) -> Response[str]:
    """Return the list of conversations as a part of the page; `before` (an id) continues it."""
    subject = _principal(request).subject
    after = await history.conversation(subject, before, deleted=True) if before else None
    if before and after is None:
        raise NotFoundError("There is no such conversation.")
    found = await history.conversations(subject, before=after, limit=LIST_LIMIT + 1)
    text = pages.view(request).render("partials/conversations.html", **_list(found, current))
    return Response(text, media_type=MediaType.HTML)


@post("/chat/conversations", **open_to(Role.STAFF), tags=["chat page"])
async def new_conversation(request: ChatRequest, history: NamedDependency[HistoryStore]) -> ConversationMade:
    """Make an empty conversation; it is listed once it holds a turn."""
    return ConversationMade((await history.create(_principal(request).subject)).id)


@patch("/chat/conversations/{conversation_id:str}", **own_only(Role.STAFF), tags=["chat page"])
async def rename_conversation(
    request: ChatRequest, data: JSONBody[NewTitle], history: NamedDependency[HistoryStore], conversation_id: Id
) -> TitleGiven:
    """Give a conversation a name."""
    title = data.checked()
    if not await history.rename(_principal(request).subject, conversation_id, title):
        raise NotFoundError("There is no such conversation.")
    return TitleGiven(title)


@delete("/chat/conversations/{conversation_id:str}", **own_only(Role.STAFF), tags=["chat page"])
async def delete_conversation(
    request: ChatRequest, history: NamedDependency[HistoryStore], conversation_id: Id
) -> None:
    """Take a conversation out of the person's view; the audit log keeps its turns."""
    if not await history.delete(_principal(request).subject, conversation_id):
        raise NotFoundError("There is no such conversation.")


@post("/chat/conversations/{conversation_id:str}/restore", **own_only(Role.STAFF), tags=["chat page"], status_code=204)
async def restore_conversation(
    request: ChatRequest, history: NamedDependency[HistoryStore], conversation_id: Id
) -> None:
    """Undo a deletion."""
    if not await history.restore(_principal(request).subject, conversation_id):
        raise NotFoundError("There is no such deleted conversation.")


@get("/chat/conversations/{conversation_id:str}/messages", **own_only(Role.STAFF), include_in_schema=False)
async def earlier_messages(
    request: ChatRequest,
    pages: NamedDependency[Pages],
    history: NamedDependency[HistoryStore],
    conversation_id: Id,
    before: Annotated[int, QueryParameter(ge=1, le=2**31 - 1)],
) -> Response[str]:
    """Return earlier messages as a part of the page."""
    if await history.conversation(_principal(request).subject, conversation_id) is None:
        raise NotFoundError("There is no such conversation.")
    view = pages.view(request)
    found = await history.messages(conversation_id, before=before)
    parts = await _messages(view, found, newest=False)
    return Response(view.render("partials/messages.html", **parts), media_type=MediaType.HTML)


@get("/chat/messages/{message_id:str}", **own_only(Role.STAFF), include_in_schema=False)
async def one_message(
    request: ChatRequest, pages: NamedDependency[Pages], history: NamedDependency[HistoryStore], message_id: Id
) -> Response[str]:
    """Return one message as a part of the page: an answer that was still being written when the page was loaded."""
    found = await history.message(_principal(request).subject, message_id)
    if found is None:
        raise NotFoundError("There is no such message.")
    newest = await history.messages(found.conversation_id, limit=1)
    view, last = pages.view(request), found.id in {one.id for one in newest}
    text = view.render("partials/messages.html", messages=(view.message(found, last=last),), earlier=0)
    return Response(text, media_type=MediaType.HTML)


@post("/preferences", **PUBLIC, include_in_schema=False, status_code=303)
async def preferences(
    pages: NamedDependency[Pages],
    settings: NamedDependency[Settings],
    data: URLEncodedBody[Preferences],
) -> Redirect:
    """Remember language and appearance in this browser, then go back."""
    wanted = {LANGUAGE_COOKIE: (data.language, pages.catalogues), THEME_COOKIE: (data.theme, THEMES)}
    cookies = [
        Cookie(
            key=name,
            value=value,
            max_age=YEAR_S,
            httponly=True,
            secure=settings.base_url.startswith("https://"),
            samesite="lax",
        )
        for name, (value, known) in wanted.items()
        if value in known
    ]
    return Redirect(safe_return_path(data.return_to), status_code=303, cookies=cookies)


def _principal(request: ChatRequest) -> Principal:
    principal: Principal = request.user
    return principal


def _list(found: tuple[Conversation, ...], current: str) -> dict[str, Any]:
    shown = found[:LIST_LIMIT]
    return {
        "conversations": shown,
        "more_before": shown[-1].id if len(found) > LIST_LIMIT else "",
        "current": current,
    }


async def _messages(view: View, found: tuple[StoredMessage, ...], *, newest: bool) -> dict[str, Any]:
    """Cut to what one load may hold, always whole turns; `earlier` is the position that the next load asks before."""
    room, first = PAGE_CHARS, len(found)
    while first >= 2:  # noqa: PLR2004 - message and answer
        room -= len(found[first - 2].text) + len(found[first - 1].text)
        if room < 0 and first < len(found):
            break
        first -= 2
    shown = found[first:]
    more = first > 0 or len(found) == PAGE_MESSAGES
    return {
        # In a thread: long answers take milliseconds each, and everybody's streams run on this loop.
        "messages": await asyncio.to_thread(
            lambda: [view.message(item, last=newest and item is found[-1]) for item in shown]
        ),
        "earlier": shown[0].position if shown and more else 0,
    }


chat_routes = [
    home,
    conversation_page,
    conversation_list,
    new_conversation,
    rename_conversation,
    delete_conversation,
    restore_conversation,
    earlier_messages,
    one_message,
    preferences,
]
