"""The policy: what is in force in words, versions and what they change, trials on the history, activation by two."""

import asyncio
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, SkipValidation, URLEncodedBody
from litestar.response import Redirect, Response

from gateway.auth.access import recorded_for
from gateway.auth.principal import Role
from gateway.console.policy_words import PolicyWords
from gateway.console.purpose import Purposes
from gateway.console.section import Group, Part, Section
from gateway.console.shell import ConsoleRequest, address, console_page
from gateway.inquiry.refusals import officer_of
from gateway.policies.changes import changes
from gateway.policies.desk import SHADOW_DAYS, WITH_TEXTS, PolicyDesk
from gateway.policies.readable import readable
from gateway.policies.telling import FEWEST_TURNS, STEP
from gateway.policies.trials import DAYS, MOST_TURNS, State
from gateway.policies.versions import NOTE_LIMIT
from gateway.problems import BadRequestError
from gateway.web.pages import Pages
from safety.policy import PolicyError
from safety.policy_problem import Problem
from safety.policy_yaml import LONGEST

SECTION = Section(
    path="/console/policy",
    title="console.policy.title",
    icon="shield",
    roles=(Role.COMPLIANCE, Role.SECURITY),
    group=Group.WORK,
)
VERSIONS = SECTION.path + "/versions"
SAID = ("proposed", "asked", "trying")
_ACCESS = recorded_for(*SECTION.roles)

ThePolicies = NamedDependency[SkipValidation[PolicyDesk]]


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text to propose. How long it may be is said with its other errors."""

    text: str
    note: Annotated[str, msgspec.Meta(max_length=NOTE_LIMIT)] = ""


class TrialWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the history to try."""

    days: int
    most: int


class TrialProgress(msgspec.Struct, frozen=True):
    """How far a trial is, for the script of the page."""

    state: State
    done: int
    total: int


@get(SECTION.path, **_ACCESS, include_in_schema=False)
async def policy_page(
    request: ConsoleRequest, pages: NamedDependency[Pages], policies: ThePolicies, said: FromQuery[str] = ""
) -> Response[str]:
    """Show what is in force in words, what is only recorded, and the versions."""
    overview, shadows = await asyncio.gather(policies.overview(), policies.shadows(officer_of(request)))
    return await console_page(
        request,
        pages,
        SECTION,
        "console/policy.html",
        overview=overview,
        standing=overview.standing,
        activated={one.version_id: one for one in overview.activations[::-1]},
        titles={one.version_id: one.title for one in overview.versions},
        lines=readable(overview.standing.policy),
        shadows=shadows,
        shadow_days=SHADOW_DAYS,
        rule_title=pages.rule_title,
        address=address,
        said=said if said in SAID else "",
    )


@get(SECTION.path + "/new", **_ACCESS, include_in_schema=False)
async def candidate_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    policies: ThePolicies,
    version: FromQuery[str] = "",
) -> Response[str]:
    """Show a form for a candidate, filled with a version's text (the one in force when none is named)."""
    source = await policies.version(version or policies.standing.version.version_id)
    return await _form(request, pages, source.text, "", ())


@post(SECTION.path, **_ACCESS, include_in_schema=False, status_code=303)
async def candidate_proposed(
    request: ConsoleRequest, data: URLEncodedBody[Candidate], pages: NamedDependency[Pages], policies: ThePolicies
) -> Response[str] | Redirect:
    """Add a candidate, or show the form again with everything that is to be mended."""
    text = data.text.replace("\r\n", "\n")
    try:
        version = await policies.propose(officer_of(request), text, data.note)
    except PolicyError as error:
        return await _form(request, pages, text[:LONGEST], data.note, error.problems)
    return Redirect(address(f"{VERSIONS}/{version.version_id}", {"said": "proposed"}), status_code=303)


@get(VERSIONS + "/{version_id:str}", **_ACCESS, include_in_schema=False)
async def version_page(
    request: ConsoleRequest,
    pages: NamedDependency[Pages],
    policies: ThePolicies,
    purposes: NamedDependency[SkipValidation[Purposes]],
    version_id: FromPath[str],
    said: FromQuery[str] = "",
    texts: FromQuery[str] = "",
) -> Response[str]:
    """Show a version: what it changes, what it would have changed, its text."""
    version = await policies.version(version_id)
    overview, policy = await asyncio.gather(policies.overview(), policies.policy(version))
    officer, case = await purposes.officer(request)
    tried = await policies.tried(officer, version, policy, texts=texts == "open")
    words = PolicyWords(pages.view(request), pages.rule_title)
    return await console_page(
        request,
        pages,
        SECTION,
        "console/policy_version.html",
        version=version,
        standing=overview.standing,
        waiting=overview.waiting.get(version.version_id),
        activations=[one for one in overview.activations if one.version_id == version.version_id],
        changes=[words.line(one) for one in changes(overview.standing.policy, policy)],
        lines=readable(policy),
        tried=tried,
        telling=tried.telling if tried is not None else policies.telling(officer, policy),
        fewest=FEWEST_TURNS,
        step=STEP,
        case=case,
        texts=texts == "open",
        with_texts=WITH_TEXTS,
        days=DAYS,
        most=MOST_TURNS,
        me=request.user,
        rule_title=pages.rule_title,
        said=said if said in SAID else "",
    )


@post(VERSIONS + "/{version_id:str}/activation", **_ACCESS, include_in_schema=False, status_code=303)
async def activation_asked(request: ConsoleRequest, policies: ThePolicies, version_id: FromPath[str]) -> Redirect:
    """Ask that a second person puts a version in force."""
    await policies.ask(officer_of(request), version_id)
    return Redirect(address(f"{VERSIONS}/{version_id}", {"said": "asked"}), status_code=303)


@post(VERSIONS + "/{version_id:str}/trial", **_ACCESS, include_in_schema=False, status_code=303)
async def trial_begun(
    request: ConsoleRequest, data: URLEncodedBody[TrialWanted], policies: ThePolicies, version_id: FromPath[str]
) -> Redirect:
    """Try a version on the history, in the background."""
    if data.days not in DAYS or data.most not in MOST_TURNS:
        raise BadRequestError("days, most: must be one of those that the form offers.")
    await policies.begin_trial(officer_of(request), version_id, days=data.days, most=data.most)
    return Redirect(address(f"{VERSIONS}/{version_id}", {"said": "trying"}) + "#trial", status_code=303)


@get(VERSIONS + "/{version_id:str}/trial", **_ACCESS, include_in_schema=False)
async def trial_progress(policies: ThePolicies, version_id: FromPath[str]) -> TrialProgress:
    """Say how far the newest trial of a version is."""
    return TrialProgress(*await policies.progress(version_id))


async def _form(
    request: ConsoleRequest, pages: Pages, text: str, note: str, problems: tuple[Problem, ...]
) -> Response[str]:
    status = 400 if problems else 200
    values = {"text": text, "note": note, "problems": problems, "note_limit": NOTE_LIMIT, "longest": LONGEST}
    return await console_page(request, pages, SECTION, "console/policy_new.html", status=status, **values)


PART = Part(
    SECTION,
    (policy_page, candidate_page, candidate_proposed, version_page, activation_asked, trial_begun, trial_progress),
)
