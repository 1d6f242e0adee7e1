"""The forbidden words of one turn: between the policy that forbids, the tier that stops, and the record."""

from collections.abc import Callable
from functools import cached_property

from audit.record import StageRecord
from inference.forbidden import digest
from inference.ports import Delta, ForbiddenWords
from safety.lexicon import lexicon
from safety.pipeline import Pipeline
from safety.verdict import Action, Band, Category, Decision, Finding, Verdict

GUARD = "decoding"
"""The stage in which the tier stops a model at forbidden words."""
ENDPOINT = f"{GUARD}.endpoint"
"""Rule where an endpoint stopped the answer by a filter of its own, whatever it says of it."""


class Lexicon:
    """Words at which the answer of one turn is stopped."""

    def __init__(self, words: tuple[ForbiddenWords, ...] = ()) -> None:
        self.words = words

    @cached_property
    def digest(self) -> str:
        """Identity of the words; empty where there are none."""
        return digest(self.words)

    def stops(self, delta: Delta) -> bool:
        """Whether the tier says that it stops the answer at these words."""
        return bool(self.words) and delta.lexicon == self.digest

    def rule(self, last: Delta) -> str:
        """Return the rule that ended the answer: one of these words', or `ENDPOINT`.

        Anything else that an endpoint names is text of its own, which no guard has examined.
        """
        known = self.stops(last) and any(one.rule == last.stopped_by for one in self.words)
        return last.stopped_by if known else ENDPOINT

    def stage(self, *, stopping: bool, characters: int) -> tuple[StageRecord, ...]:
        """Return what a record says of this stage: that the tier stopped at the words, or that it does not do so."""
        if not self.words:
            return ()
        version = self.digest.removeprefix("sha256:")[:16]
        status, seen = ("ran", characters) if stopping else ("skipped", 0)
        return (StageRecord(f"output.{GUARD}", status, seen, 0.0, version),)


def forbidden_words(safety: Pipeline) -> Callable[[tuple[str, ...]], tuple[ForbiddenWords, ...]]:
    """Return what gives the words of the policy in force for members of groups; made once for each set of groups."""
    kept: dict[frozenset[str], tuple[ForbiddenWords, ...]] = {}
    known = frozenset(safety.policy.groups)

    def words(groups: tuple[str, ...]) -> tuple[ForbiddenWords, ...]:
        key = known & frozenset(groups)
        if key not in kept:
            parts = lexicon(safety.policy, tuple(sorted(key)))
            kept[key] = tuple(ForbiddenWords(part.rule, part.words) for part in parts)
        return kept[key]

    return words


def stopped(rule: str, at: int, policy_hash: str) -> Decision:
    """Return the decision over an answer that was stopped at a forbidden word no guard has seen: it blocks."""
    finding = Finding(GUARD, rule, Category.COMPANY, at, at, 1.0)
    verdict = Verdict(finding, Band.BLOCK, 1.0, Action.BLOCK)
    return Decision(
        action=Action.BLOCK,
        verdicts=(verdict,),
        examinations=(),
        policy_hash=policy_hash,
        normaliser_version="",
    )
