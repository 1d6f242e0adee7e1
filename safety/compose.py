"""The safety layer's composition: every guard in the order of its stage, over one policy."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safety.classifier.guard import HarmClassifier
from safety.classifier.manifest import SHIPPED
from safety.filters.company import CompanyWords
from safety.filters.engine import RuleGuard
from safety.parts import filters, recommended
from safety.pipeline import Pipeline
from safety.policy import DEFAULT_POLICY, complete, load_policy
from safety.policy_shape import Policy, SecondOpinionRule
from safety.second_opinion import Judge, SecondOpinion


@dataclass(frozen=True)
class Layers:
    """Makes safety layers that share one classifier, which is opened once, and the rule packs."""

    classifier: HarmClassifier
    guard_timeout_s: float = 5.0
    judge_for: Callable[[SecondOpinionRule], Judge] | None = None
    """Makes the judge of the second opinion where a policy wants one; without it none is asked."""

    def completed(self, policy: Policy) -> Policy:
        """Fill in the thresholds that the policy leaves to the model. Raises `PolicyError`."""
        return complete(policy, recommended(self.classifier.manifest))

    def over(self, policy: Policy, *, second_opinion: bool = True) -> Pipeline:
        """Make the layer over a completed policy and check every part of it. Raises `ValueError`."""
        rule = policy.second_opinion
        asks = rule.enabled and second_opinion and self.judge_for is not None
        pipeline = Pipeline(
            (*self._filters(policy), self.classifier),
            policy,
            guard_timeout_s=self.guard_timeout_s,
            second_opinion=SecondOpinion(self.judge_for(rule), rule) if asks and self.judge_for else None,
        )
        pipeline.validate()
        return pipeline

    def _filters(self, policy: Policy) -> tuple[RuleGuard | CompanyWords, ...]:
        own = CompanyWords(policy.company)
        return tuple(one if isinstance(one, RuleGuard) else own for one in self._packs)

    @cached_property
    def _packs(self) -> tuple[RuleGuard | CompanyWords, ...]:
        return filters()


def build_safety(
    policy_path: Path | None = None,
    model_dir: Path | None = None,
    guard_timeout_s: float = 5.0,
    threads: int = 1,
    judge_for: Callable[[SecondOpinionRule], Judge] | None = None,
) -> Pipeline:
    """Make the safety layer and check every part of it; a second or two of work, so call it once at start.

    Raises `ValueError` (`PolicyError`, `RuleError`, the classifier's own) that says what to mend.
    """
    layers = Layers(HarmClassifier(model_dir or SHIPPED, threads=threads), guard_timeout_s, judge_for)
    return layers.over(layers.completed(load_policy(policy_path or DEFAULT_POLICY)))
