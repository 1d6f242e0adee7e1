"""`/v1/moderations`: what all guards make of texts, in OpenAI's shape. No turn, no model, no record: a question."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from gateway.auth.access import open_to
from gateway.auth.principal import Role
from gateway.bulk import Bulk
from gateway.identifiers import uuid7
from gateway.problems import BadRequestError
from gateway.settings import Settings
from gateway.turn import TurnService
from safety.ports import Direction, TurnContext
from safety.verdict import Action, Band, Category, Decision, StageStatus

MODEL = "attest-safety"
_NAMES = {
    Category.HATE: "hate",
    Category.HARASSMENT: "harassment",
    Category.SEXUAL: "sexual",
    Category.VIOLENCE: "violence",
    Category.SELF_HARM: "self-harm",
    Category.ILLEGAL: "illicit",
}
_FINER = (
    *("hate/threatening", "harassment/threatening", "sexual/minors", "violence/graphic", "illicit/violent"),
    *("self-harm/intent", "self-harm/instructions"),
)
"""OpenAI's finer categories, which Attest does not tell apart: never flagged."""
MOST_TEXTS = 64


class TextInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the input; only text is understood."""

    text: str
    type: Literal["text"] = "text"


class ModerationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request. `model` is taken and not used: there is one safety layer."""

    input: str | Annotated[list[str | TextInput], msgspec.Meta(min_length=1, max_length=MOST_TEXTS)]
    model: str | None = None

    def texts(self, settings: Settings) -> list[str]:
        """Return the texts, checked against the limits of a message. Raises `BadRequestError`."""
        parts = [self.input] if isinstance(self.input, str) else self.input
        texts = [part.text if isinstance(part, TextInput) else part for part in parts]
        if any(len(text) > settings.message_limit_chars for text in texts):
            raise BadRequestError(f"input: a text is longer than {settings.message_limit_chars} characters.")
        if sum(map(len, texts)) > settings.context_limit_chars:
            raise BadRequestError(f"input: together longer than {settings.context_limit_chars} characters.")
        return texts


class FindingInfo(msgspec.Struct, frozen=True):
    """One finding and what the policy makes of it; spans count code points of the text."""

    rule: str
    category: str
    start: int
    end: int
    score: float
    action: str
    shadow: bool


class FailedStage(msgspec.Struct, frozen=True):
    """A guard that did not judge the text: asked again, it may."""

    stage: str
    status: str
    """`timed_out` or `error`."""


class SafetyInfo(msgspec.Struct, frozen=True):
    """What OpenAI's shape has no place for."""

    action: str
    policy: str
    classifier: str
    findings: list[FindingInfo]
    failed: list[FailedStage]
    """Guards that did not judge the text."""


class Moderation(msgspec.Struct, frozen=True):
    """The verdict on one text."""

    flagged: bool
    """Whether the policy in force would stop the text."""
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    attest: SafetyInfo


class ModerationResponse(msgspec.Struct, frozen=True):
    """The answer: one result for each text, in order."""

    id: str
    model: str
    results: list[Moderation]


@post("/v1/moderations", **open_to(Role.STAFF), tags=["safety"], status_code=200)
async def moderations(
    request: Request[Any, Any, Any],
    data: JSONBody[ModerationRequest],
    turns: NamedDependency[SkipValidation[TurnService]],
    questions: NamedDependency[SkipValidation[Bulk]],
    settings: NamedDependency[Settings],
) -> ModerationResponse:
    """Say what the guards and the policy make of texts, as if they were sent to the model.

    Counts against the caller's rate limit like a turn. The texts are neither kept nor sent to the model that answers.
    """
    texts = data.texts(settings)
    context = TurnContext(direction=Direction.INPUT, groups=request.user.groups)
    async with turns.admission.admit(request.user):
        turns.policy.check()
        safety = turns.policy.now.safety
        decisions = [decision async for decision in questions.examine(safety, texts, context)]
    classifier = safety.classifier_hash
    return ModerationResponse(
        id=f"modr-{uuid7()}", model=MODEL, results=[moderation(decision, classifier) for decision in decisions]
    )


def moderation(decision: Decision, classifier: str) -> Moderation:
    """Return a decision in OpenAI's shape; `classifier` is the hash of the one that spoke."""
    scores = dict.fromkeys([*_NAMES.values(), *_FINER], 0.0)
    flags = dict.fromkeys(scores, False)
    for verdict in decision.verdicts:
        name = _NAMES.get(verdict.finding.category)
        if name is None or verdict.shadow:
            continue
        scores[name] = max(scores[name], verdict.finding.score)
        flags[name] = flags[name] or (verdict.band is Band.BLOCK and verdict.action is not Action.ALLOW)
    findings = [
        FindingInfo(
            rule=verdict.finding.rule,
            category=verdict.finding.category.value,
            start=verdict.finding.start,
            end=verdict.finding.end,
            score=round(verdict.finding.score, 4),
            action=verdict.action.value,
            shadow=verdict.shadow,
        )
        for verdict in decision.verdicts
    ]
    failed = [
        FailedStage(part.guard, part.status.value)
        for part in decision.examinations
        if part.status in (StageStatus.TIMED_OUT, StageStatus.ERROR)
    ]
    return Moderation(
        flagged=decision.blocked,
        categories=flags,
        category_scores=scores,
        category_applied_input_types={name: ["text"] for name in flags},
        attest=SafetyInfo(decision.action.value, decision.policy_hash, classifier, findings, failed),
    )


moderation_routes = [moderations]
