"""The safety layer's composition: every guard in the order of its stage, over one policy."""

from collections.abc import Callable
from pathlib import Path

from safety.classifier.guard import HarmClassifier
from safety.classifier.manifest import SHIPPED, Manifest
from safety.filters.company import CompanyWords
from safety.filters.engine import RuleGuard
from safety.filters.output_review import output_review
from safety.filters.personal_data import personal_data
from safety.filters.prompt_attack import prompt_attack
from safety.filters.secrets import secrets
from safety.pipeline import Pipeline
from safety.policy import DEFAULT_POLICY, complete, load_policy
from safety.policy_shape import Policy, SecondOpinionRule, Thresholds
from safety.ports import Guard
from safety.second_opinion import Judge, SecondOpinion
from safety.verdict import Category


def build_safety(
    policy_path: Path | None = None,
    model_dir: Path | None = None,
    guard_timeout_s: float = 5.0,
    threads: int = 1,
    judge_for: Callable[[SecondOpinionRule], Judge] | None = None,
) -> Pipeline:
    """Make the safety layer and check every part of it; a second or two of work, so call it once at start.

    `judge_for` makes the judge of the second opinion where the policy wants one; without it none is asked.

    Raises `ValueError` (`PolicyError`, `RuleError`, the classifier's own) that says what to mend.
    """
    classifier = HarmClassifier(model_dir or SHIPPED, threads=threads)
    policy = complete(load_policy(policy_path or DEFAULT_POLICY), recommended(classifier.manifest))
    guards: tuple[Guard, ...] = (*filters(policy), classifier)
    rule = policy.second_opinion
    opinion = SecondOpinion(judge_for(rule), rule) if rule.enabled and judge_for is not None else None
    pipeline = Pipeline(guards, policy, guard_timeout_s=guard_timeout_s, second_opinion=opinion)
    pipeline.validate()
    return pipeline


def recommended(manifest: Manifest) -> dict[Category, Thresholds]:
    """Return the thresholds that were chosen on the development set when the model was made."""
    return {
        Category(name): Thresholds(uncertain=bands.uncertain, block=bands.block)
        for name, bands in manifest.thresholds.items()
    }


def filters(policy: Policy) -> tuple[RuleGuard | CompanyWords, ...]:
    """Make the filters alone, in the order of their stages."""
    return (personal_data(), secrets(), prompt_attack(), CompanyWords(policy.company), output_review())
