"""Bodies that the chat page sends; unknown fields are refused."""

from typing import Annotated

from msgspec import Meta, Struct, field

from gateway.problems import BadRequestError, TooLargeError

CONVERSATION_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
TITLE_LIMIT = 120
COMMENT_LIMIT = 2000


class NewTurn(Struct, frozen=True, forbid_unknown_fields=True):
    """A new message, or (`regenerate`) the last one once more.

    `answer` is the id of the answer that the page shows last: where another one is the last by now, nothing is done.
    """

    text: str = ""
    regenerate: bool = False
    answer: Annotated[str, Meta(pattern=CONVERSATION_ID)] = ""

    def checked(self, limit: int) -> str:
        """Return the message. Raises `BadRequestError` or `TooLargeError`."""
        if self.regenerate and self.text:
            raise BadRequestError("Send either a text or regenerate, not both.")
        if not self.regenerate and not self.text.strip():
            raise BadRequestError("The message is empty.")
        if len(self.text) > limit:
            raise TooLargeError(f"The message is longer than {limit} characters; shorten it or send it in parts.")
        if "\x00" in self.text:
            raise BadRequestError("The message holds a NUL character; remove it.")
        return self.text


class NewTitle(Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation's new name."""

    title: Annotated[str, Meta(min_length=1, max_length=TITLE_LIMIT, pattern=r"[^\s]")]

    def checked(self) -> str:
        """Return the name on one line. Raises `BadRequestError` for control characters alone."""
        title = " ".join(part for part in self.title.replace("\x00", "").split())
        if not title:
            raise BadRequestError("The name is empty.")
        return title


class Feedback(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person thinks of an answer."""

    rating: Annotated[int, Meta(ge=-1, le=1)]
    comment: Annotated[str, Meta(max_length=COMMENT_LIMIT)] = ""

    def checked(self) -> "Feedback":
        """Return it. Raises `BadRequestError` when it says nothing."""
        if self.rating == 0:
            raise BadRequestError("The rating is 1 (good) or -1 (bad).")
        return self


class Appeal(Struct, frozen=True, forbid_unknown_fields=True):
    """A person contests a block; what they say to it may come at once or later."""

    comment: Annotated[str, Meta(max_length=COMMENT_LIMIT)] = ""


class Preferences(Struct, frozen=True, forbid_unknown_fields=True):
    """Language and appearance, from a form."""

    language: str = ""
    theme: str = ""
    return_to: str = "/"
    csrf_token: str = field(default="", name="_csrf_token")


class ConversationMade(Struct, frozen=True):
    """A new conversation."""

    id: str


class TitleGiven(Struct, frozen=True):
    """A conversation's name as stored."""

    title: str
