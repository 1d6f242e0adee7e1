"""The review queue: turns that were contested, escalated or uncertain; what reviewers say of each, and how it ended."""

from functools import partial
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation, URLEncodedBody
from litestar.response import Redirect, Response

from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.http.errors import REFUSED_AS
from gateway.inquiry.refusals import officer_of
from gateway.problems import BadRequestError, SecondOfficerRequiredError
from gateway.review.desk import PURPOSE, ReviewDesk, subject_of
from gateway.review.records import COMMENT_LIMIT, Label, Place, Source
from gateway.web.pages import Pages
from safety.policy_shape import CLASSIFIED
from safety.verdict import Category

SECTION = Section(
    path="/console/reviews", title="console.reviews.title", icon="scales", roles=(Role.COMPLIANCE,), group=Group.WORK
)
ON_A_PAGE = 50
_ACCESS = recorded_for(*SECTION.roles)
_LONGEST_ID = 200

TheReviews = NamedDependency[SkipValidation[ReviewDesk]]
_Text = Annotated[str, msgspec.Meta(max_length=COMMENT_LIMIT)]


class Assigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who shall look: oneself, or nobody."""

    mine: bool = False


class Commented(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reviewer says to the others."""

    text: _Text


class Labelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of a label."""

    verdict: str
    place: Place = Place.MESSAGE
    categories: list[str] | str = msgspec.field(default_factory=list)
    twice: bool = False
    note: _Text = ""

    def label(self) -> Label:
        """Return the label. Raises `BadRequestError`."""
        named = [self.categories] if isinstance(self.categories, str) else self.categories
        if self.verdict == "harmless":
            return Label(self.place)
        known = {category.value for category in CLASSIFIED}
        if self.verdict != "harmful" or not named or not set(named) <= known:
            raise BadRequestError("Say harmless, or harmful and in which categories.")
        return Label(self.place, tuple(Category(name) for name in dict.fromkeys(named)))


@get(SECTION.path, **_ACCESS, include_in_schema=False)
async def reviews_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    reviews: TheReviews,
    source: FromQuery[str] = "",
    shown: FromQuery[str] = "",
    after: FromQuery[str] = "",
) -> Response[str]:
    """Show what waits, oldest first, or what was decided; and how far reviewers agree."""
    if source not in {"", *Source} or shown not in {"", "decided"} or len(after) > _LONGEST_ID:
        raise BadRequestError("There is no such page of the queue.")
    wanted, decided = Source(source) if source else None, shown == "decided"
    found = await reviews.queue(officer_of(request), wanted, decided=decided, after=after, limit=ON_A_PAGE + 1)
    page = found[:ON_A_PAGE]
    filters = {"source": source, "shown": shown}
    return await console_page(
        request,
        pages,
        SECTION,
        "console/reviews.html",
        reviews=page,
        filters=filters,
        counts=await reviews.reviews.counts(),
        agreement=await reviews.reviews.agreement(),
        only=partial(address, SECTION.path, filters),
        next_page=address(SECTION.path, filters, after=page[-1].turn_id) if len(found) > ON_A_PAGE else "",
    )


@get(SECTION.path + "/{turn_id:str}", **_ACCESS, include_in_schema=False)
async def review_page(
    request: ConsoleRequest, pages: NamedDependency[Pages], reviews: TheReviews, turn_id: FromPath[str]
) -> Response[str]:
    """Show a turn of the queue with its texts, and the form of a label."""
    officer = officer_of(request)
    try:
        review, turn = await reviews.opened(officer, _known(turn_id))
    except SecondOfficerRequiredError as error:
        request.scope["state"][REFUSED_AS] = error.code
        return await console_page(
            request, pages, SECTION, "console/review_closed.html", status=error.status, case=PURPOSE
        )
    return await console_page(
        request,
        pages,
        SECTION,
        "console/review.html",
        review=review,
        turn=turn.turn,
        texts=turn.content,
        findings=[
            (one, pages.rule_title(one.rule, pages.view(request).language))
            for record in turn.records
            for one in record.findings
            if record.kind.value != "turn.released"
        ],
        categories=[category.value for category in CLASSIFIED],
        me=subject_of(officer),
    )


@post(SECTION.path + "/{turn_id:str}/assign", **_ACCESS, include_in_schema=False, status_code=303)
async def review_assigned(
    request: ConsoleRequest, data: URLEncodedBody[Assigned], reviews: TheReviews, turn_id: FromPath[str]
) -> Redirect:
    """Take a turn upon oneself, or give it back."""
    officer = officer_of(request)
    await reviews.assign(officer, _known(turn_id), subject_of(officer) if data.mine else "")
    return _back(turn_id)


@post(SECTION.path + "/{turn_id:str}/comment", **_ACCESS, include_in_schema=False, status_code=303)
async def review_commented(
    request: ConsoleRequest, data: URLEncodedBody[Commented], reviews: TheReviews, turn_id: FromPath[str]
) -> Redirect:
    """Say something to the other reviewers."""
    await reviews.comment(officer_of(request), _known(turn_id), data.text)
    return _back(turn_id)


@post(SECTION.path + "/{turn_id:str}/label", **_ACCESS, include_in_schema=False, status_code=303)
async def review_labelled(
    request: ConsoleRequest, data: URLEncodedBody[Labelled], reviews: TheReviews, turn_id: FromPath[str]
) -> Redirect:
    """Label a turn."""
    await reviews.label(officer_of(request), _known(turn_id), data.label(), twice=data.twice, note=data.note)
    return _back(turn_id)


def _known(turn_id: str) -> str:
    if len(turn_id) > _LONGEST_ID:
        raise BadRequestError("The id is none of a turn.")
    return turn_id


def _back(turn_id: str) -> Redirect:
    return Redirect(f"{SECTION.path}/{turn_id}", status_code=303)


PART = Part(SECTION, (reviews_page, review_page, review_assigned, review_commented, review_labelled))
