"""A turn's page: what was said, what was found, what was decided, in which order, and whether it is proved."""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from litestar.response import Response
from markupsafe import Markup

from audit.record import CLOSING_KINDS, Content, Entry, FindingRecord, Kind, StageRecord
from audit.search.shown import ShownTexts, ShownTurn
from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.cases.store import Case
from gateway.console.asked import PageAsked
from gateway.console.marked import SHOWN, WHOLE, marked, of_text
from gateway.console.purpose import Purposes
from gateway.console.search import SECTION
from gateway.console.shell import ConsoleRequest, console_page
from gateway.http.audit_query import Described
from gateway.inquiry.desk import Desk, plainly
from gateway.inquiry.officer import Officer
from gateway.inquiry.proofs import Proofs
from gateway.inquiry.refusals import ANSWERED
from gateway.inquiry.replays import Replays
from gateway.problems import AttestError, BadRequestError, NotFoundError, SecondOfficerRequiredError
from gateway.rejudging import Rejudged
from gateway.web.markdown import visible
from gateway.web.pages import Pages, View

_LONGEST_ID = 200
_ROLES = (Role.COMPLIANCE, Role.SECURITY)
MOST_DIALOGUE = 40
"""Earlier messages of the dialogue that the page shows unless all are asked for."""
MOST_OF_EARLIER = 4000
"""Characters of each of them that it shows."""

TheDesk = NamedDependency[SkipValidation[Desk]]
ThePurposes = NamedDependency[SkipValidation[Purposes]]
TheProofs = NamedDependency[SkipValidation[Proofs]]


@dataclass
class TurnPage(Described):
    """`GET /console/turns/{turn_id}`."""

    described: ClassVar[dict[str, str]] = {"whole": "true: texts in full, up to 200,000 characters each"}


@get("/console/turns/{turn_id:str}", **recorded_for(*_ROLES), include_in_schema=False)
async def turn_page(
    request: ConsoleRequest,
    turn_id: FromPath[str],
    pages: NamedDependency[Pages],
    desk: TheDesk,
    purposes: ThePurposes,
    proofs: TheProofs,
) -> Response[str]:
    """Show a turn; its texts when the officer may read them and works on a case."""
    asked = PageAsked(request, TurnPage, pages.view(request).zone)
    officer, case = await purposes.officer(request)
    turn, refusal = await _read(request, desk, officer, turn_id)
    whole = asked.text("whole") == "true"
    return await _page(request, pages, proofs, turn, case, refusal=refusal, whole=whole)


@post("/console/turns/{turn_id:str}/replay", **recorded_for(Role.COMPLIANCE), include_in_schema=False, status_code=200)
async def turn_replayed(
    request: ConsoleRequest,
    turn_id: FromPath[str],
    pages: NamedDependency[Pages],
    desk: TheDesk,
    purposes: ThePurposes,
    proofs: TheProofs,
    replays: NamedDependency[SkipValidation[Replays]],
) -> Response[str]:
    """Judge a turn again with the policy and classifier of then, and show what came of it."""
    officer, case = await purposes.officer(request)
    turn, refusal = await _read(request, desk, officer, turn_id)
    with plainly():
        again = await replays.turn(turn_id)
    return await _page(request, pages, proofs, turn, case, refusal=refusal, again=again)


async def _read(
    request: Request[Any, Any, Any], desk: Desk, officer: Officer, turn_id: str
) -> tuple[ShownTurn, AttestError | None]:
    """Return the turn, and why its texts are closed where they would be open otherwise."""
    if len(turn_id) > _LONGEST_ID:
        raise BadRequestError("The id is none of a turn.")
    refusal = None
    wanted = officer.may_read_texts and bool(officer.purpose)
    try:
        found = await desk.turn(officer, turn_id, content=wanted)
    except SecondOfficerRequiredError as error:
        refusal, found = error, await desk.turn(officer, turn_id, content=False)
    if found is None:
        request.scope["state"][ANSWERED] = True  # as a reading that found nothing
        raise NotFoundError("There is no such turn.")
    return found, refusal


async def _page(
    request: ConsoleRequest,
    pages: Pages,
    proofs: Proofs,
    turn: ShownTurn,
    case: Case | None,
    *,
    refusal: AttestError | None = None,
    whole: bool = False,
    again: Rejudged | None = None,
) -> Response[str]:
    view = pages.view(request)
    own = [record for record in turn.records if record.kind in _TURN_KINDS]
    proved = await proofs.of([one.entry_id for one in own])
    findings = list(enumerate(findings_of(own), 1))
    readings = [record for record in turn.records if record.kind.value.startswith("access.")]
    # Rendered in a thread: whoever is being answered does not wait for an officer's look at a long answer.
    texts = await asyncio.to_thread(_texts, turn.content, findings, view, whole=whole) if turn.content else None
    return await console_page(
        request,
        pages,
        SECTION,
        "console/turn.html",
        turn=turn.turn,
        opening=own[0] if own else None,
        closing=next((one for one in reversed(own) if one.kind in CLOSING_KINDS), None),
        records=own,
        proved=proved,
        findings=[(number, one, pages.rule_title(one.rule, view.language)) for number, one in findings],
        stages=stages_of(own),
        texts=texts,
        others=[one for one in turn.records if one.kind not in _TURN_KINDS and one not in readings],
        readings=readings,
        case=case,
        refusal=refusal,
        whole=whole,
        again=again,
    )


_TURN_KINDS = CLOSING_KINDS | {Kind.TURN_ACCEPTED, Kind.TURN_RELEASED}


def findings_of(records: list[Entry]) -> tuple[FindingRecord, ...]:
    """Return every finding of a turn once, in the order of the text."""
    found = dict.fromkeys(finding for record in records for finding in record.findings)
    return tuple(sorted(found, key=lambda one: (one.where == "answer", one.where, one.start, one.end, one.rule)))


@dataclass(frozen=True)
class StageLine:
    """A stage on the timeline; `width` in percent of the slowest."""

    stage: StageRecord
    width: float


def stages_of(records: list[Entry]) -> tuple[StageLine, ...]:
    """Return the stages in the order in which they stand: those of the question, then those of the whole answer."""
    opening = [stage for record in records if record.kind is Kind.TURN_ACCEPTED for stage in record.stages]
    closing = [stage for record in records if record.kind in CLOSING_KINDS for stage in record.stages]
    stages = list(dict.fromkeys([*opening, *closing]))
    slowest = max((stage.milliseconds for stage in stages), default=0) or 1
    return tuple(StageLine(stage, round(max(0.5, stage.milliseconds / slowest * 100), 1)) for stage in stages)


@dataclass(frozen=True)
class EarlierMessage:
    """A message of the dialogue before this turn, as the person saw it; `left_out` characters are not shown."""

    role: str
    html: str
    left_out: int


def _earlier(message: Content, view: View, *, whole: bool) -> EarlierMessage:
    text = message.text[: WHOLE if whole else MOST_OF_EARLIER]
    seen = Markup(view.markdown.html(text)) if message.role == "assistant" else visible(text)  # noqa: S704 - nh3
    return EarlierMessage(message.role, seen, len(message.text) - len(text))


def _texts(
    content: ShownTexts, findings: list[tuple[int, FindingRecord]], view: View, *, whole: bool
) -> dict[str, Any]:
    answer, asked = of_text(findings, "answer"), of_text(findings, "message")
    earlier = content.dialogue[:-1] if content.dialogue else ()
    shown = earlier if whole else earlier[-MOST_DIALOGUE:]
    limit = WHOLE if whole else SHOWN
    return {
        "earlier": [_earlier(one, view, whole=whole) for one in shown],
        "earlier_left_out": len(earlier) - len(shown),
        "asked": visible(content.message[:limit]),
        "answered": Markup(view.markdown.html(content.delivered[:limit])),  # noqa: S704 - cleaned by nh3
        "message": marked(content.message, asked, whole=whole),
        "generated": marked(content.generated, answer, whole=whole),
        "withheld": marked(content.withheld, (), whole=whole),
        "delivered": marked(content.delivered, (), whole=whole),
        "comments": [visible(one.text) for one in content.comments],
    }


TURN_ROUTES = (turn_page, turn_replayed)
