"""What reviewers decided, as labelled texts in the form that training reads: only what the policy lets be used.

Personal data, secrets and company words are replaced by placeholders (`[EMAIL_1]`), the same value by the same one in a
text. A text that a filter could not examine whole is left out, and so is one that was erased.
"""

from collections.abc import AsyncIterator, Sequence

import msgspec

from audit.ports import TurnTrail
from audit.readers import Readers
from audit.record import Kind
from gateway.review.records import Place, Review, settle
from gateway.review.store import Reviews
from safety.filters.company import CompanyWords
from safety.filters.personal_data import personal_data
from safety.filters.secrets import secrets
from safety.normalise import VERSION, normalise
from safety.policy_shape import Policy
from safety.ports import Direction, Guard, TurnContext
from safety.pseudonyms import Pseudonyms
from safety.verdict import Action, Decision, Finding, Redaction, StageStatus

AT_ONCE = 50
_ROLES = {Place.MESSAGE: "prompt", Place.ANSWER: "response"}
_CHINESE = range(0x4E00, 0xA000)


class Sample(msgspec.Struct, frozen=True):
    """One line of the file."""

    text: str
    lang: str
    role: str
    labels: tuple[str, ...]
    source: str


class Samples:
    """Makes samples of decided reviews; `left_out` counts those that gave none."""

    def __init__(self, reviews: Reviews, readers: Readers, policy: Policy) -> None:
        """`policy` says whose texts may be used."""
        self._reviews = reviews
        self._readers = readers
        self._policy = policy
        self._guards: tuple[Guard, ...] = (personal_data(), secrets(), CompanyWords(policy.company))
        self.left_out = 0

    async def all(self) -> AsyncIterator[Sample]:
        """Yield samples, newest decision first. Raises `AuditUnavailableError`, `AuditIntegrityError`."""
        last: Review | None = None
        while page := await self._reviews.queue(decided=True, after=last, limit=AT_ONCE):
            last = page[-1]
            trails = await self._readers.trails([one.turn_id for one in page], dialogues=False)
            for one in page:
                trail, review = trails.get(one.turn_id), await self._reviews.review(one.turn_id)
                sample = await self._sample(review, trail) if review is not None and trail is not None else None
                if sample is None:
                    self.left_out += 1
                else:
                    yield sample

    async def _sample(self, review: Review, trail: TurnTrail) -> Sample | None:
        labels = tuple(one.label for one in review.labels)
        settled = settle(labels, blocked=review.blocked, twice=review.twice)
        if settled is None or not self._may_be_used(trail):
            return None
        text = trail.message if settled.place is Place.MESSAGE else trail.generated
        clean = await self.pseudonymised(text) if text.strip() else None
        if clean is None:
            return None
        named = tuple(category.value for category in settled.categories)
        return Sample(clean, language_of(clean), _ROLES[settled.place], named, f"review.{review.source.value}")

    def _may_be_used(self, trail: TurnTrail) -> bool:
        groups = next((one.groups for one in trail.records if one.kind is Kind.TURN_ACCEPTED), ())
        rule = self._policy.samples
        return rule.allowed and not {one.removeprefix("/") for one in groups} & set(rule.without_groups)

    async def pseudonymised(self, text: str) -> str | None:
        """Return a text with placeholders; None where a filter did not speak for the whole of it."""
        read, found = normalise(text), list[Finding]()
        context = TurnContext(direction=Direction.INPUT)
        for guard in self._guards:
            examination = await guard.examine(read, context)
            ran = examination.status is StageStatus.RAN and examination.characters >= len(text)
            if not ran and examination.status is not StageStatus.SKIPPED:
                return None
            found += examination.findings
        cuts = _cuts(found)
        decision = Decision(Action.PSEUDONYMISE, (), (), "", VERSION, cuts)
        return Pseudonyms([text]).apply(decision, text)


def _cuts(findings: Sequence[Finding]) -> tuple[Redaction, ...]:
    """Return one cut for findings that overlap, named after the first."""
    cuts: list[Redaction] = []
    for one in sorted(findings, key=lambda finding: (finding.start, -finding.end)):
        if cuts and one.start < cuts[-1].end:
            cuts[-1] = msgspec.structs.replace(cuts[-1], end=max(cuts[-1].end, one.end))
        elif one.end > one.start:
            cuts.append(Redaction(one.start, one.end, one.rule.partition(".")[2] or one.category.value, True))
    return tuple(cuts)


def language_of(text: str) -> str:
    """Return `zh` where Chinese characters carry the text, else `en`."""
    chinese = sum(ord(character) in _CHINESE for character in text)
    latin = sum(character.isascii() and character.isalpha() for character in text)
    return "zh" if chinese * 3 > latin else "en"
